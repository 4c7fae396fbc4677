"""What a request calls: found in what the snippet defines."""

from __future__ import annotations

from fob.contract import ENTRY, NO_CALLABLE
from fob.runner.core.errors import CannotStart
from fob.runner.core.feature import feature
from fob.runner.core.names import APPLICATION_NAMES, ENTRY_NAMES, public_functions
from fob.runner.core.signature import Signature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fob.runner.core.snippet import Snippet


def find(snippet: Snippet, names: dict[str, Any], entry: str) -> tuple[str, Any] | None:
    """Name and value of what to call; None for a script. Raises CannotStart if it is ambiguous.

    `names` is what the snippet defines, `entry` the name that the user chose, if any.
    """
    if entry:
        found = feature("conventions").resolve(names, entry)
        if callable(found):
            return entry, found
        message = f"{ENTRY} is {entry!r}, and the snippet has no such function; it has "
        raise CannotStart(NO_CALLABLE, message + (", ".join(public_in(snippet, names)) or "none"))
    for name in (*APPLICATION_NAMES, *ENTRY_NAMES):
        found = names.get(name)
        if callable(found) and (name not in APPLICATION_NAMES or is_application(name, found)):
            return name, found
    public = public_in(snippet, names)
    if len(public) > 1 and b"functions_framework" in snippet.source:
        public = feature("conventions").marked(snippet.statements, public) or public
    if len(public) > 1:
        message = "the entry is ambiguous: the snippet defines " + ", ".join(public)
        message += f"; name one of them {' or '.join(ENTRY_NAMES)}, or choose the entry"
        raise CannotStart(NO_CALLABLE, message)
    return (public[0], names[public[0]]) if public else None


def public_in(snippet: Snippet, names: dict[str, Any]) -> list[str]:
    """The public functions of a snippet whose names still stand for something callable."""
    return [name for name in public_functions(snippet.statements) if callable(names.get(name))]


def is_application(name: str, found: Any) -> bool:
    """Whether it is an ASGI or WSGI application, or a class of such."""
    is_class = isinstance(found, type)
    parameters = Signature(name, found.__call__ if is_class else found).positional
    return bool(feature("conventions").is_application(parameters[is_class:]))
