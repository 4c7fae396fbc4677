"""All that travels with a function: a server for one snippet, linked into one piece."""
