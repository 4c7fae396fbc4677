"""What can go wrong for the command line beside its user's own mistakes."""

from collections.abc import Mapping
from typing import Any

from fob.errors import FobError


class ServiceUnreachable(FobError):
    """Nobody answers where the service should be."""

    code = "unreachable"


class RefusedByService(FobError):
    """The service answered with an error."""

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(
            str(error.get("message") or f"the service answered {status}"),
            code=str(error.get("code") or ""),
            details=error.get("details"),
        )


class FunctionFailed(RefusedByService):
    """The service works, the function does not."""
