"""Functions written for other platforms, served unchanged: one module for each platform.

`make(function)` returns what a call of the function does. A result that says nothing about HTTP is
sent as that of any function is: `{"result": ...}`.
"""
