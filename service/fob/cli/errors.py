"""Errors of the command line other than wrong usage, and the service's errors in its own terms."""

import re
from collections.abc import Mapping
from typing import Any

from fob.errors import FobError

# `?entry=NAME` in a sentence, but not a query within a URL
_QUERY = re.compile(r"(?<!\S)\?([a-z_]+)=(\w?)")
_ROUTES = {"GET /api/functions/<id>/logs": "fob logs ID", "GET /api/functions": "fob list"}


class ServiceUnreachable(FobError):
    """The service cannot be reached, or did not send a complete response."""

    code = "unreachable"


class ServiceError(FobError):
    """The service returned an error."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(
            str(error.get("message") or f"the service returned {status}"),
            code=str(error.get("code") or ""),
            details=error.get("details"),
        )


class FunctionFailed(ServiceError):
    """The function failed, not the service."""


def in_cli_terms(message: str) -> str:
    """Replace the API's queries and routes in a message by flags and commands."""
    for route, command in _ROUTES.items():
        message = message.replace(route, f"`{command}`")
    return _QUERY.sub(_flag, message)


def _flag(query: re.Match[str]) -> str:
    key, value = query.groups()
    return f"--{key.replace('_', '-')} {value}".rstrip()
