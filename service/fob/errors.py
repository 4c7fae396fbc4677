"""Every error fob answers with: what happened, what to do, and its HTTP status.

    FobError
    |-- BadRequest          400  the request is at fault; the message says where
    |-- Unauthorized        401  a token is wanted
    |-- Forbidden           403  not from here
    |-- NotFound            404  no such function or route
    |-- MethodNotAllowed    405  not a method of this route
    |-- RequestTimeout      408  the client stalled in the middle of a request
    |-- Conflict            409  somebody else holds it
    |-- TooLarge            413  over a limit; the message has both numbers
    |-- UnsupportedMedia    415  not a Python file
    |-- HeadersTooLarge     431  a request's headers are over a limit
    |-- UpgradeRefused      501  a call asks for a protocol that is not passed on
    |-- NotReady            503  the function has no instance that answers yet
    |-- CallFailed          502  the function took the call and did not answer it
    |-- CallTimeout         504  the function did not respond in time
    |-- StorageFailed       507  the state folder cannot be written
    `-- MarathonError       502  Marathon did not do what was asked
        |-- MarathonRefused 502  it said no, in its own words
        |-- MarathonBusy    503  it asks to try again later
        `-- MarathonSilent  504  it did not answer in time

An error is never changed once it is made. `AppNotFound` (a `NotFound`) is Marathon's 404 for
an app.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class FobError(Exception):
    """A failure with a sentence for the user.

    `code` is the stable machine-readable name; `details` is anything JSON can hold;
    `headers` are added to the HTTP answer.
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
        """The one error shape: `{"error": {"code", "message", "details"}}`."""
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
