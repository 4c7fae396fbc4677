"""The server that every function has. Its modules are linked into one namespace (linker/).

So a top-level name belongs to one module, is imported under its own name, and is never rebound.

signal, socket and json would cost 15 ms of every cold start, for their enums and regular
expressions: the modules in C below them are imported instead.
"""
