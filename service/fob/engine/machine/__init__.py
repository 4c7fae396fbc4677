"""What tasks get of this machine: their shares and ports, their folders, their sockets at rest."""
