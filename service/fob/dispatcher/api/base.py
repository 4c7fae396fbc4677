"""What all handlers share: access checks, body limits, and errors in the log and the response."""

import logging
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from fob import timeline
from fob.dispatcher.guard import Guard
from fob.dispatcher.in_flight import InFlight
from fob.errors import BadRequest, FobError, MethodNotAllowed, TooLarge
from fob.functions.service import Functions
from fob.http.server import MAX_DRAIN_BYTES

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024


@stream_request_body
class ApiHandler(RequestHandler):
    """Checks access, limits bodies, and responds to every failure with the one error shape.

    Bodies are read as a stream, so a limit can depend on the route and the content type. An error
    is sent only after the rest of the body is read: closing the connection while the client still
    sends could lose the response.
    """

    max_body_bytes = MAX_BODY_BYTES
    token_required_for: frozenset[str] = frozenset()

    def initialize(self, functions: Functions, guard: Guard, in_flight: InFlight) -> None:
        self.functions = functions
        self.guard = guard
        self.in_flight = in_flight
        self.received = timeline.now("received")
        self.disconnected = False
        self.new_id = ""
        self._prepared = False
        self._body = bytearray()
        self._body_bytes = 0

    def prepare(self) -> None:
        self.in_flight.begin(self)
        self.request.connection.set_max_body_size(MAX_DRAIN_BYTES)  # type: ignore[union-attr]
        try:
            self.admit()
        except FobError as error:
            self._reject(error)
        self._prepared = True

    def admit(self) -> None:
        """Raise `FobError` when the head alone shows that the request is to be rejected."""
        headers = self.request.headers
        self.guard.check_origin(headers)
        if self.request.method in self.token_required_for:
            self.guard.check_token(headers)
        length = headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > self.max_body_bytes:
            raise self._too_large(int(length[:20]))

    def _reject(self, error: FobError) -> None:
        """Respond with the error at once if the client waits to send its body, else after it."""
        if self.request.headers.get("Expect", "").lower() == "100-continue":
            raise error

        def fail(*_: str) -> None:
            raise error

        # Tornado calls the method's handler once the body is read
        setattr(self, str(self.request.method).lower(), fail)

    def data_received(self, chunk: bytes) -> None:
        self._body_bytes += len(chunk)
        if self._body_bytes <= self.max_body_bytes:
            self._body += chunk

    def content(self) -> bytes:
        """The body; raises `TooLarge`."""
        if self._body_bytes > self.max_body_bytes:
            raise self._too_large(self._body_bytes)
        return bytes(self._body)

    def _too_large(self, size_bytes: int) -> TooLarge:
        return TooLarge(
            f"The body has {size_bytes} bytes; the maximum is {self.max_body_bytes}",
            details={"bytes": size_bytes, "limit": self.max_body_bytes},
        )

    def query(self, *known: str) -> dict[str, list[str]]:
        """The query's values by key; raises `BadRequest` for a key that is not `known`.

        Without `known` every key is accepted.
        """
        try:
            values = parse_qs(
                self.request.query, keep_blank_values=True, errors="strict", max_num_fields=1000
            )
        except ValueError as error:
            raise BadRequest(f"The query cannot be read: {error}") from error
        unknown = sorted(set(values) - set(known)) if known else []
        if unknown:
            raise BadRequest(
                f"Unknown query key: {', '.join(unknown)}; known here: {', '.join(known)}",
                code="bad_option",
            )
        return values

    def on_connection_close(self) -> None:
        self.disconnected = True
        super().on_connection_close()
        self.in_flight.end(self)

    def on_finish(self) -> None:
        self.in_flight.end(self)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        cause = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        error = self._as_error(status_code, cause)
        self.set_status(error.status)
        for name, value in error.headers.items():
            self.set_header(name, value)
        if not self._prepared:
            # Tornado closes a connection whose request it has not read to the end
            self.set_header("Connection", "close")
        self.finish(error.body())

    def _as_error(self, status_code: int, cause: BaseException | None) -> FobError:
        if isinstance(cause, FobError):
            return cause
        if status_code == 405:
            return self._method_not_allowed()
        if isinstance(cause, HTTPError) and status_code == 400:
            return BadRequest(cause.log_message or cause.reason or "The request is malformed")
        return FobError("Internal error in fob; its log has the traceback")

    def _method_not_allowed(self) -> MethodNotAllowed:
        missing = RequestHandler._unimplemented_method
        allowed = ", ".join(
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), method.lower()) is not missing
        )
        return MethodNotAllowed(
            f"{str(self.request.method)[:20]} is not allowed on this route; allowed: {allowed}",
            headers={"Allow": allowed},
        )

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if not isinstance(value, FobError | HTTPError | StreamClosedError):
            log.error("%s %s failed", self.request.method, self.request.path, exc_info=value)


def log_request(handler: RequestHandler) -> None:
    """Log a request as one line, without query, body and token."""
    request = handler.request
    log.info(
        "%s %s %d %.1f ms%s",
        request.method,
        request.path[:200],
        handler.get_status(),
        request.request_time() * 1000,
        f" {handler.new_id}" if isinstance(handler, ApiHandler) and handler.new_id else "",
    )
