"""How a command becomes a process, executed or forked, and what it finds in its environment."""
