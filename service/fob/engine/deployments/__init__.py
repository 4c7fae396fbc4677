"""How a change comes about: in which order, how far it is, and what it locks."""
