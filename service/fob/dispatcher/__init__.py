"""The service's process: who may make requests, and where each one goes."""
