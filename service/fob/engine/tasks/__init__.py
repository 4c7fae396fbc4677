"""Apps and tasks while the engine runs, and their form in Marathon's JSON."""
