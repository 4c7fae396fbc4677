"""Reconciles running tasks with the desired state: changes, deployments, supervision, starts."""
