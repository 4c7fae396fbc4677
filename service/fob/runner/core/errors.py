"""The runner's exceptions: for a request, for a call, and for its own start."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class RequestError(Exception):
    """A request that gets an error response: `status`, and `content` as JSON."""

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.content = {"error": {"code": code, "message": message, "details": details}}


class Expired(BaseException):
    """Raised inside a call that ran out of time."""


class CannotStart(Exception):
    """The runner exits with `code`; the message says why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
