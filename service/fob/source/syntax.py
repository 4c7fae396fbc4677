"""One thread at a time at Python's syntax trees.

CPython 3.11 counts how deep it is in a tree for all threads together, and fails with "AST
constructor recursion depth mismatch" when two are in one (gh-106905).
"""

import threading

LOCK = threading.Lock()
