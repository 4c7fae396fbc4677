"""How a command becomes a process on this machine, and what the process gets of it."""
