"""Which names a Python file binds at its top level, read from its syntax tree.

The dispatcher checks files with this code too. It knows nodes by the names of their types, because
importing ast takes 10 ms.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

# what a request calls, in this order
ENTRY_NAMES = ("callme", "call_me", "handler", "lambda_handler", "main", "handle")
# before those, since their routes may have any of these names
APPLICATION_NAMES = ("app", "application")

FUNCTIONS = ("FunctionDef", "AsyncFunctionDef")
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")  # of statements in a statement


def statements(body: Iterable[Any]) -> Iterator[Any]:
    """The statements that run when the file does: also those under if, try, with, match, loops."""
    for node in body:
        kind = type(node).__name__
        if kind not in ("ExceptHandler", "match_case"):
            yield node
        if kind not in (*FUNCTIONS, "ClassDef"):
            for block in BLOCKS:
                yield from statements(getattr(node, block, ()))


def public_functions(nodes: Iterable[Any]) -> list[str]:
    """Names of the public functions that the statements `nodes` define."""
    names = (node.name for node in nodes if type(node).__name__ in FUNCTIONS)
    return list(dict.fromkeys(name for name in names if not name.startswith("_")))


def bound_by(node: Any) -> Iterator[str]:
    """The names that a statement binds or deletes in its module; `*` for all of another module.

    Statements in its blocks are separate: see `statements`.
    """
    kind = type(node).__name__
    if kind in (*FUNCTIONS, "ClassDef"):
        yield node.name
    elif kind in ("Import", "ImportFrom"):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    else:
        yield from _targets(node)


def _targets(node: Any) -> Iterator[str]:
    """Targets of assignments, loops, with, del and walruses, and captures of patterns."""
    kind = type(node).__name__
    if kind == "Name" and type(node.ctx).__name__ != "Load":
        yield node.id
    elif kind in ("MatchAs", "MatchStar", "MatchMapping"):
        name = node.rest if kind == "MatchMapping" else node.name
        if name:
            yield name
    elif kind == "Lambda":  # binds in its own scope
        return
    for field in node._fields:
        # a comprehension's targets are its own, but a walrus in it binds in the module
        if kind == "comprehension" and field == "target":
            continue
        value = getattr(node, field, None)
        if not isinstance(value, list):
            value = [value]
        elif field in BLOCKS and field != "cases":
            continue
        for child in value:
            if hasattr(child, "_fields"):
                yield from _targets(child)
