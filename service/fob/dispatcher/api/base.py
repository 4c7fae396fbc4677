"""What all handlers share: who may ask, how large a body may be, how errors look in the log and
in the answer."""

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
from fob.http.server import DRAIN_BYTES

log = logging.getLogger(__name__)

BODY_BYTES = 64 * 1024


@stream_request_body
class Base(RequestHandler):
    """What all routes share: who may ask, how large a body may be, how errors look.

    Bodies are taken as a stream, and refusals wait for their end: a connection closed while the
    client still sends would take the answer with it.
    """

    body_limit = BODY_BYTES
    token_for: frozenset[str] = frozenset()

    def initialize(self, functions: Functions, guard: Guard, in_flight: InFlight) -> None:
        self.functions = functions
        self.guard = guard
        self.in_flight = in_flight
        self.received = timeline.now("received")
        self.gone = False
        self.new_id = ""
        self._prepared = False
        self._chunks = bytearray()
        self._size_bytes = 0

    def prepare(self) -> None:
        self.in_flight.begin(self)
        self.request.connection.set_max_body_size(DRAIN_BYTES)  # type: ignore[union-attr]
        try:
            self.admit()
        except FobError as error:
            self._refuse(error)
        self._prepared = True

    def admit(self) -> None:
        """Raise when the head alone says that the request is not to be served."""
        headers = self.request.headers
        self.guard.check_origin(headers)
        if self.request.method in self.token_for:
            self.guard.check_token(headers)
        length = headers.get("Content-Length", "")
        if length.isdecimal() and int(length[:20]) > self.body_limit:
            raise self._too_large(int(length[:20]))

    def _refuse(self, error: FobError) -> None:
        if self.request.headers.get("Expect", "").lower() == "100-continue":
            raise error  # the client waits for leave to send its body, and does not get it

        def refuse(*_: str) -> None:
            raise error

        setattr(self, str(self.request.method).lower(), refuse)

    def data_received(self, chunk: bytes) -> None:
        self._size_bytes += len(chunk)
        if self._size_bytes <= self.body_limit:
            self._chunks += chunk

    def content(self) -> bytes:
        """The body; raises `TooLarge`."""
        if self._size_bytes > self.body_limit:
            raise self._too_large(self._size_bytes)
        return bytes(self._chunks)

    def _too_large(self, size_bytes: int) -> TooLarge:
        return TooLarge(
            f"The body has {size_bytes} bytes, and {self.body_limit} is the most here",
            details={"bytes": size_bytes, "limit": self.body_limit},
        )

    def query(self, *known: str) -> dict[str, list[str]]:
        """The query's values; an unknown key is refused when some are `known`."""
        try:
            values = parse_qs(
                self.request.query, keep_blank_values=True, errors="strict", max_num_fields=1000
            )
        except ValueError as error:
            raise BadRequest(f"The query cannot be read: {error}") from error
        unknown = sorted(set(values) - set(known)) if known else []
        if unknown:
            raise BadRequest(
                f"The query key {', '.join(unknown)} is not known; known here: {', '.join(known)}",
                code="bad_option",
            )
        return values

    def on_connection_close(self) -> None:
        self.gone = True
        super().on_connection_close()
        self.in_flight.end(self)

    def on_finish(self) -> None:
        self.in_flight.end(self)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        problem = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        error = self._as_error(status_code, problem)
        self.set_status(error.status)
        for name, value in error.headers.items():
            self.set_header(name, value)
        if not self._prepared:
            # Tornado closes a connection whose request it has not read to the end: say so
            self.set_header("Connection", "close")
        self.finish(error.body())

    def _as_error(self, status_code: int, problem: BaseException | None) -> FobError:
        if isinstance(problem, FobError):
            return problem
        if status_code == 405:
            return self._not_allowed()
        if isinstance(problem, HTTPError) and status_code == 400:
            return BadRequest(problem.log_message or problem.reason or "The request is malformed")
        return FobError("Something broke inside fob; its log has the traceback")

    def _not_allowed(self) -> MethodNotAllowed:
        missing = RequestHandler._unimplemented_method
        allowed = [
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), method.lower()) is not missing
        ]
        methods = ", ".join(allowed)
        return MethodNotAllowed(
            f"{str(self.request.method)[:20]} is not allowed on this route; allowed: {methods}",
            headers={"Allow": methods},
        )

    def log_exception(
        self,
        typ: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if not isinstance(value, FobError | HTTPError | StreamClosedError):
            log.error("%s %s broke", self.request.method, self.request.path, exc_info=value)


def log_request(handler: RequestHandler) -> None:
    """The one line of a request: queries, bodies and tokens stay out of it."""
    request = handler.request
    log.info(
        "%s %s %d %.1f ms%s",
        request.method,
        request.path[:200],
        handler.get_status(),
        request.request_time() * 1000,
        f" {handler.new_id}" if isinstance(handler, Base) and handler.new_id else "",
    )
