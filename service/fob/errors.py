"""Every error that fob reports: what happened, what to do about it, and its HTTP status.

    FobError
    |-- BadRequest          400  the request is at fault; the message says where
    |-- Unauthorized        401  the request carries no valid token
    |-- Forbidden           403  the request comes from a foreign origin or host
    |-- NotFound            404  no such function or route
    |-- MethodNotAllowed    405  the route does not support the method
    |-- RequestTimeout      408  the client stalled in the middle of a request
    |-- Conflict            409  another process uses the port or the folder
    |-- TooLarge            413  over a limit; the message states size and limit
    |-- UnsupportedMedia    415  not a Python file
    |-- HeadersTooLarge     431  the request's headers are over a limit
    |-- UpgradeRefused      501  the call asks for a protocol that fob does not forward
    |-- NotReady            503  the function has no ready instance
    |-- CallFailed          502  the function accepted the call and did not respond
    |-- CallTimeout         504  the function did not respond in time
    |-- StorageFailed       507  the state folder cannot be written
    `-- MarathonError       502  Marathon did not carry out the request
        |-- MarathonRefused 502  it refused; the message quotes it
        |-- MarathonBusy    503  it is overloaded; try again later
        `-- MarathonSilent  504  it did not respond in time

Errors are immutable. `AppNotFound` (a `NotFound`) is Marathon's 404 for an app.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class FobError(Exception):
    """A failure with a message for the user.

    `code` is its stable, machine-readable name; `details` is any JSON value; `headers` are added
    to the HTTP response.
    """

    status: ClassVar[int] = 500
    code = "internal"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details = details
        self.headers: Mapping[str, str] = MappingProxyType(dict(headers or {}))

    def body(self) -> dict[str, Any]:
        """The body of every error response: `{"error": {"code", "message", "details"}}`."""
        return {"error": {"code": self.code, "message": self.message, "details": self.details}}


class BadRequest(FobError):
    status, code = 400, "bad_request"


class Unauthorized(FobError):
    status, code = 401, "unauthorized"


class Forbidden(FobError):
    status, code = 403, "forbidden"


class NotFound(FobError):
    status, code = 404, "not_found"


class AppNotFound(NotFound):
    pass


class MethodNotAllowed(FobError):
    status, code = 405, "method_not_allowed"


class RequestTimeout(FobError):
    status, code = 408, "too_slow"


class Conflict(FobError):
    status, code = 409, "conflict"


class TooLarge(FobError):
    status, code = 413, "too_large"


class UnsupportedMedia(FobError):
    status, code = 415, "unsupported_media_type"


class HeadersTooLarge(FobError):
    status, code = 431, "head_too_large"


class UpgradeRefused(FobError):
    status, code = 501, "upgrade_refused"


class NotReady(FobError):
    status, code = 503, "not_ready"


class CallFailed(FobError):
    status, code = 502, "call_failed"


class CallTimeout(FobError):
    status, code = 504, "call_timeout"


class StorageFailed(FobError):
    status, code = 507, "storage_failed"


class MarathonError(FobError):
    status, code = 502, "marathon_error"


class MarathonRefused(MarathonError):
    status, code = 502, "marathon_refused"


class MarathonBusy(MarathonError):
    status, code = 503, "marathon_busy"


class MarathonSilent(MarathonError):
    status, code = 504, "marathon_silent"
