"""The service's process: access checks, the JSON API, and calls to functions."""
