"""Whether tasks that run are well, and whether new ones are ready."""
