"""What outlives the engine: apps, versions, tasks, failures and deployments, in SQLite."""
