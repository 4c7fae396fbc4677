"""ASGI applications (asgi.readthedocs.io, version 3): HTTP and lifespan, streaming both ways."""

from __future__ import annotations

import asyncio
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

VERSIONS = {"version": "3.0", "spec_version": "2.4"}
LAST_WORDS = 5.0  # seconds for what still runs when the runner ends


def make(function: Any, core: Any) -> Callable[[Any], Any]:
    """Start the application; how a call of it goes, from a `Call` to a `Reply` or a stream."""
    function.streams = True
    application = Application(function.target, core)
    function.wait(application.start(), Anyone())
    function.close = lambda: function.wait(application.stop(), Anyone())

    def invoke(call: Any) -> Any:
        if call.request.headers.get("upgrade", "").lower() == "websocket":
            raise core.Refused(501, "upgrade_refused", "WebSockets are not served")
        return function.wait(application.answer(call), call)

    return invoke


class Anyone:
    """Waits in place of a call, before the first and after the last."""


class Application:
    """The application, its lifespan, and what it still does after its answers."""

    def __init__(self, target: Callable[..., Awaitable[None]], core: Any) -> None:
        self.target, self.core = target, core
        self.state: dict[str, Any] = {}
        self._events: asyncio.Queue[dict[str, Any]]
        self._told: asyncio.Queue[dict[str, Any]]
        self._lifespan: asyncio.Future[None] | None = None
        self._running: set[asyncio.Future[None]] = set()

    async def start(self) -> None:
        """Go through the start-up; one that fails is the end, none at all is fine."""
        self._events, self._told = asyncio.Queue(), asyncio.Queue()
        self._events.put_nowait({"type": "lifespan.startup"})
        scope = {"type": "lifespan", "asgi": VERSIONS, "state": self.state}
        run = self._run(scope, self._events.get, self._told.put)
        self._lifespan = lifespan = asyncio.ensure_future(run)
        told = await self._hear(lifespan)
        if told.get("type") == "lifespan.startup.failed":
            message = "the application's start-up failed: " + str(told.get("message", ""))
            raise self.core.CannotStart(self.core.BAD_IMPORT, message)
        if told.get("type") != "lifespan.startup.complete":
            self._lifespan = None  # it knows of no lifespan

    async def _run(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self.target(scope, receive, send)

    async def _hear(self, lifespan: asyncio.Future[None]) -> dict[str, Any]:
        """What the application says next of its lifespan; nothing when that is over."""
        telling = asyncio.ensure_future(self._told.get())
        both: set[asyncio.Future[Any]] = {telling, lifespan}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if lifespan.done() and not lifespan.cancelled():
            lifespan.exception()  # has been seen
        if not telling.done():
            telling.cancel()
            return {}
        return telling.result()

    async def stop(self) -> None:
        """Let what still runs end, then go through the shut-down."""
        if self._running:
            await asyncio.wait(self._running, timeout=LAST_WORDS)
        if self._lifespan and not self._lifespan.done():
            self._events.put_nowait({"type": "lifespan.shutdown"})
            try:
                told = await asyncio.wait_for(self._hear(self._lifespan), LAST_WORDS)
            except asyncio.TimeoutError:  # noqa: UP041 - the same only since Python 3.11
                told = {"message": f"it took longer than {LAST_WORDS:g} seconds"}
            if told.get("type") != "lifespan.shutdown.complete" and "message" in told:
                self.core.log(f"fob: the application's shut-down failed: {told['message']}\n")

    async def answer(self, call: Any) -> Any:
        """The reply to a call as soon as it is complete; the application may go on after it."""
        exchange = AsgiExchange(call, self.core)
        run = self._run(self._scope(call), exchange.receive, exchange.send)
        task = asyncio.ensure_future(run)
        self._running.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait({task, exchange.over}, return_when=asyncio.FIRST_COMPLETED)
            if not exchange.over.done():
                exchange.over.cancel()
                task.result()  # raises what it has raised
                raise exchange.invalid("it ended without a whole answer")
        except asyncio.CancelledError:
            task.cancel()
            raise
        return exchange.reply

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception():
            self.core.log(self.core.trace(task.exception()))

    def _scope(self, call: Any) -> dict[str, Any]:
        request, sock = call.request, call.connection.sock
        headers = request.headers.items()
        return {
            "type": "http",
            "asgi": VERSIONS,
            "http_version": request.version[5:],
            "method": request.method,
            "scheme": "http",
            "path": self.core.unquote(request.path, "+"),
            "raw_path": request.path.encode(),
            "query_string": request.query.encode(),
            "root_path": "",
            "headers": [[name.encode("latin-1"), v.encode("latin-1")] for name, v in headers],
            "client": list(sock.getpeername()[:2]),
            "server": list(sock.getsockname()[:2]),
            "state": self.state.copy(),
        }


class AsgiExchange:
    """One request and its answer: the application's `receive` and `send`."""

    def __init__(self, call: Any, core: Any) -> None:
        self._call, self._core = call, core
        self._answers, self._pieces = core.part("answers"), core.part("pieces")
        self._asked = False  # for the body, at least once
        self._stream: Any = None
        self.reply: Any = None
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def invalid(self, message: str) -> Exception:
        error: Exception = self._answers.invalid(self._core, f"the ASGI application: {message}")
        return error

    async def receive(self) -> dict[str, Any]:
        request = self._call.request
        if not self._asked or (request.length and not self.over.done()):
            self._asked = True
            data = await self._more()
            return {"type": "http.request", "body": data, "more_body": bool(request.length)}
        await self._client_gone()
        return {"type": "http.disconnect"}

    async def _more(self) -> bytes:
        data: bytes | None = self._pieces.pull(self._call, self._core)
        while data is None:
            await self._ready("reader")
            data = self._pieces.pull(self._call, self._core)
        return data

    async def _client_gone(self) -> None:
        """Wait until the client has gone, or the answer is complete."""
        if not self.over.done():
            waiting = asyncio.ensure_future(self._ready("reader"))
            await asyncio.wait({waiting, self.over}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if self._silent():
                return
            await asyncio.wait({self.over})  # it has sent the next request: that it still reads

    def _silent(self) -> bool:
        """Whether the client has closed; else it has sent the next request."""
        if self.over.done():
            return True
        try:
            flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
            return not self._call.connection.sock.recv(1, flags)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def _ready(self, way: str) -> None:
        """Wait until the socket can be read ("reader") or written ("writer")."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        fd = os.dup(self._call.connection.sock.fileno())  # of our own: nobody else closes it
        try:
            getattr(loop, "add_" + way)(fd, ready.set)
            await ready.wait()
        finally:
            getattr(loop, "remove_" + way)(fd)
            os.close(fd)

    async def send(self, message: dict[str, Any]) -> None:
        if self.over.done():
            return
        kind = message.get("type")
        if kind == "http.response.start" and self.reply is None:
            self._start(message)
        elif kind == "http.response.body" and self.reply is not None:
            await self._body(message.get("body", b""), bool(message.get("more_body")))
        else:
            before = "before" if self.reply is None else "after"
            raise self.invalid(f"sent {kind!r} {before} its http.response.start")

    def _start(self, message: dict[str, Any]) -> None:
        try:
            headers = [
                (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
            self.reply = self._answers.Reply(int(message["status"]), headers, b"")
        except (KeyError, TypeError, ValueError) as error:
            raise self.invalid(f"no good http.response.start: {error!r}") from None

    async def _body(self, piece: Any, more: bool) -> None:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise self.invalid(f"a {type(piece).__name__} in the body, which must be bytes")
        whole = self._stream is None and not more and self._call.request.method != "HEAD"
        if whole:
            self.reply.body = bytes(piece)
        else:
            await self._piece(bytes(piece), more)
        if not more:
            self.over.set_result(None)

    async def _piece(self, piece: bytes, more: bool) -> None:
        """Send a piece of the body now; the first takes the head with it."""
        data = b""
        if self._stream is None:
            self._stream = self._answers.Stream(self.reply, self._call, self._core)
            data = self._stream.head
        data += self._stream.frame(piece)
        data += b"" if more else self._stream.end()
        rest = self._pieces.push(self._call, data, self._core) if data else None
        while rest:
            await self._ready("writer")
            rest = self._pieces.push(self._call, rest, self._core)
