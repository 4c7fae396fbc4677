"""What went wrong in a call or an import, for its response and for the log."""

from __future__ import annotations

import sys

from fob.runner.core.feature import feature
from fob.runner.core.output import log
from fob.runner.core.snippet import SNIPPET_FILE, Snippet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def tracebacks() -> Any:
    return feature("tracebacks").Tracebacks(SNIPPET_FILE, Snippet.folder)


def trace(error: BaseException | None) -> Any:
    """The traceback as Python prints it, without the runner's own frames."""
    return tracebacks().text(error)


def failure(error: BaseException) -> Any:
    """The content of the response to a call that raised; its traceback goes to the log."""
    log(trace(error))
    return tracebacks().content(error)


def import_hint(error: BaseException) -> Any:
    """What to do about a failed import, if that is known; otherwise ""."""
    return feature("tracebacks").import_hint(error, getattr(sys, "stdlib_module_names", ()))
