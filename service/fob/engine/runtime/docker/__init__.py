"""Tasks in containers: apps with an image, run by a Docker engine on this machine.

The package `docker` takes 0.1 s to import, so it is imported for the first such app.
"""
