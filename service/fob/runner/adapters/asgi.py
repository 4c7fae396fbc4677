"""ASGI applications (asgi.readthedocs.io, version 3): HTTP and lifespan, streaming both ways."""

from __future__ import annotations

import asyncio
import os
import socket

from fob.contract import BAD_IMPORT
from fob.runner.core.errors import CannotStart, RequestError
from fob.runner.core.failures import trace
from fob.runner.core.fields import unquote
from fob.runner.core.output import log
from fob.runner.features import responses, streaming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from fob.runner.adapters.common import Invoke
    from fob.runner.core.function import Function
    from fob.runner.core.worker import Call

    Message = dict[str, Any]

VERSIONS = {"version": "3.0", "spec_version": "2.4"}
SHUTDOWN_GRACE = 5.0  # seconds for what still runs when the runner stops


def make(function: Function) -> Invoke:
    """Start the application; raises CannotStart if it fails to."""
    function.streams = True
    application = Application(function.target)
    function.wait(application.start(), NoCall())
    function.close = lambda: function.wait(application.stop(), NoCall())

    def invoke(call: Call) -> Any:
        if call.request.headers.get("upgrade", "").lower() == "websocket":
            raise RequestError(501, "upgrade_refused", "WebSockets are not served")
        return function.wait(application.respond(call), call)

    return invoke


class NoCall:
    """Stands for a call while the application starts and stops."""


class Application:
    """The application, its lifespan, and its tasks, which may outlive their responses."""

    def __init__(self, target: Callable[..., Awaitable[None]]) -> None:
        self.target = target
        self.state: dict[str, Any] = {}
        self._events: asyncio.Queue[Message]  # to the application's lifespan
        self._messages: asyncio.Queue[Message]  # from it
        self._lifespan: asyncio.Future[None] | None = None
        self._running: set[asyncio.Future[None]] = set()

    async def start(self) -> None:
        """Run the startup. An application without lifespan is fine; a failure is CannotStart."""
        self._events, self._messages = asyncio.Queue(), asyncio.Queue()
        self._events.put_nowait({"type": "lifespan.startup"})
        scope = {"type": "lifespan", "asgi": VERSIONS, "state": self.state}
        run = self._run(scope, self._events.get, self._messages.put)
        self._lifespan = lifespan = asyncio.ensure_future(run)
        message = await self._next_message(lifespan)
        if message.get("type") == "lifespan.startup.failed":
            reason = "the application's startup failed: " + str(message.get("message", ""))
            raise CannotStart(BAD_IMPORT, reason)
        if message.get("type") != "lifespan.startup.complete":
            self._lifespan = None

    async def _run(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self.target(scope, receive, send)

    async def _next_message(self, lifespan: asyncio.Future[None]) -> Message:
        """The next message of the lifespan; {} if it has ended without one."""
        getting = asyncio.ensure_future(self._messages.get())
        both: set[asyncio.Future[Any]] = {getting, lifespan}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if lifespan.done() and not lifespan.cancelled():
            lifespan.exception()  # retrieved, so that asyncio does not log it
        if not getting.done():
            getting.cancel()
            return {}
        return getting.result()

    async def stop(self) -> None:
        """Let running tasks finish, then run the shutdown."""
        if self._running:
            await asyncio.wait(self._running, timeout=SHUTDOWN_GRACE)
        if self._lifespan and not self._lifespan.done():
            self._events.put_nowait({"type": "lifespan.shutdown"})
            try:
                message = await asyncio.wait_for(self._next_message(self._lifespan), SHUTDOWN_GRACE)
            except asyncio.TimeoutError:  # noqa: UP041 - the same only since Python 3.11
                message = {"message": f"it took longer than {SHUTDOWN_GRACE:g} seconds"}
            if message.get("type") != "lifespan.shutdown.complete" and "message" in message:
                log(f"fob: the application's shutdown failed: {message['message']}\n")

    async def respond(self, call: Call) -> Any:
        """Return as soon as the response is complete; the application may go on after it."""
        exchange = AsgiExchange(call)
        run = self._run(self._scope(call), exchange.receive, exchange.send)
        task = asyncio.ensure_future(run)
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait({task, exchange.complete}, return_when=asyncio.FIRST_COMPLETED)
            if not exchange.complete.done():
                exchange.complete.cancel()
                task.result()  # raises what the application has raised
                raise invalid("it ended without a complete response")
        except asyncio.CancelledError:
            task.cancel()
            raise
        return exchange.response

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception():
            log(trace(task.exception()))

    def _scope(self, call: Call) -> dict[str, Any]:
        request, sock = call.request, call.connection.sock
        headers = request.headers.items()
        return {
            "type": "http",
            "asgi": VERSIONS,
            "http_version": request.version[5:],
            "method": request.method,
            "scheme": "http",
            "path": unquote(request.path, "+"),
            "raw_path": request.path.encode(),
            "query_string": request.query.encode(),
            "root_path": "",
            "headers": [[name.encode("latin-1"), v.encode("latin-1")] for name, v in headers],
            "client": list(sock.getpeername()[:2]),
            "server": list(sock.getsockname()[:2]),
            "state": self.state.copy(),
        }


def invalid(message: str) -> RequestError:
    return responses.invalid(f"the ASGI application: {message}")


class AsgiExchange:
    """One request and its response: the application's `receive` and `send`."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._received = False  # at least once
        self._stream: responses.ResponseStream | None = None
        self.response: responses.HttpResponse | None = None
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def receive(self) -> Message:
        request = self._call.request
        if not self._received or (request.length and not self.complete.done()):
            self._received = True
            data = await self._next_data()
            return {"type": "http.request", "body": data, "more_body": bool(request.length)}
        await self._disconnected()
        return {"type": "http.disconnect"}

    async def _next_data(self) -> bytes:
        data = streaming.pull(self._call)
        while data is None:
            await self._ready("reader")
            data = streaming.pull(self._call)
        return data

    async def _disconnected(self) -> None:
        """Wait until the client has disconnected, or the response is complete."""
        if not self.complete.done():
            waiting = asyncio.ensure_future(self._ready("reader"))
            await asyncio.wait({waiting, self.complete}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not self.complete.done() and self._client_is_there():
                await asyncio.wait({self.complete})

    def _client_is_there(self) -> bool:
        """Whether a readable connection is open: the client has sent its next request."""
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            return bool(self._call.connection.sock.recv(1, flags))
        except BlockingIOError:
            return True
        except OSError:
            return False

    async def _ready(self, direction: str) -> None:
        """Wait until the socket can be read ("reader") or written ("writer")."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        # a copy, because the server may close its own while the loop still watches it
        fd = os.dup(self._call.connection.sock.fileno())
        try:
            getattr(loop, "add_" + direction)(fd, ready.set)
            await ready.wait()
        finally:
            getattr(loop, "remove_" + direction)(fd)
            os.close(fd)

    async def send(self, message: Message) -> None:
        if self.complete.done():
            return
        kind = message.get("type")
        if kind == "http.response.start" and self.response is None:
            self._start(message)
        elif kind == "http.response.body" and self.response is not None:
            await self._body(
                self.response, message.get("body", b""), bool(message.get("more_body"))
            )
        else:
            before = "before" if self.response is None else "after"
            raise invalid(f"sent {kind!r} {before} its http.response.start")

    def _start(self, message: Message) -> None:
        try:
            headers = [
                (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
            self.response = responses.HttpResponse(int(message["status"]), headers, b"")
        except (KeyError, TypeError, ValueError) as error:
            raise invalid(f"an invalid http.response.start: {error!r}") from None

    async def _body(self, response: responses.HttpResponse, piece: Any, more: bool) -> None:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise invalid(f"a {type(piece).__name__} in the body, which must be bytes")
        whole = self._stream is None and not more and self._call.request.method != "HEAD"
        if whole:
            response.body = bytes(piece)
        else:
            await self._send_piece(response, bytes(piece), more)
        if not more:
            self.complete.set_result(None)

    async def _send_piece(self, response: responses.HttpResponse, piece: bytes, more: bool) -> None:
        """Send a piece of the body now, the first one with the head."""
        data = b""
        if self._stream is None:
            self._stream = responses.ResponseStream(response, self._call)
            data = self._stream.head
        data += self._stream.frame(piece)
        data += b"" if more else self._stream.end()
        rest = streaming.push(self._call, data) if data else None
        while rest:
            await self._ready("writer")
            rest = streaming.push(self._call, rest)
