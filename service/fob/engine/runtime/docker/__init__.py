"""Tasks that are containers: apps with an image, run by a Docker engine of this machine.

The package `docker` is imported when the first of them is wanted, and not before: it takes 0.1 s.
"""
