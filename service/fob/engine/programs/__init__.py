"""Programs that the engine runs as separate processes. They import nothing of fob."""
