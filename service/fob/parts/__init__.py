"""What only some functions need of the runner: it loads each of these on first need.

They travel inside every app next to the runner, so they are small, use the standard library
only, and import nothing of fob, nor of each other.
"""
