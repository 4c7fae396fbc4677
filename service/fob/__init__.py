"""Flock of Birds: POST a Python file, get an endpoint."""

__version__ = "0.1.0"
