"""An app with its tasks, and what one task is from its start to its end."""
