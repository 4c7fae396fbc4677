"""Makes the one program that travels inside every app out of the runner's modules."""
