"""What outlives the engine: apps, versions, tasks and failures, in SQLite."""
