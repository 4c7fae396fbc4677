"""fob's engine: Marathon's REST API for one machine, in a process of its own.

It knows apps and tasks and nothing of functions, so any Marathon client can use it.
"""
