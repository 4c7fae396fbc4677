"""Health checks of running tasks, and readiness checks of new ones."""
