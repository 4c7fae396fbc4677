"""A lock for Python's syntax trees, which only one thread may build at a time.

CPython 3.11 counts the recursion depth of all threads together, and fails with "AST constructor
recursion depth mismatch" if two threads build trees concurrently (gh-106905).
"""

import threading

LOCK = threading.Lock()
