"""Connections to functions: HTTP/1.1 from the client's side (RFC 9112), and a pool of them.

What comes back is from code that anybody may have written: heads are bounded and checked, and a
connection with anything odd about it is not used again.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tornado.httputil import HTTPHeaders, HTTPInputError

HEAD_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
# more than this unread, and the function has to wait
UNREAD_BYTES = 256 * 1024
CONNECT_SECONDS = 5.0
IDLE_SECONDS = 30.0
IDLE_MOST = 64
MOST_INTERIM = 10

Address = tuple[str, int]

_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?")
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(;.*)?", re.DOTALL)


class Ended(Exception):
    """The function closed the connection before its answer was whole."""


class Malformed(Exception):
    """What came back is not HTTP/1.1; the text says why."""


@dataclass(frozen=True)
class Head:
    """The head of an answer; `length` of its body in bytes: None when it is not told."""

    status: int
    reason: str
    headers: HTTPHeaders
    length: int | None
    chunked: bool
    keep: bool


class Connection(asyncio.Protocol):
    """One connection to a function; `used` once it has carried an answer."""

    def __init__(self) -> None:
        self.used = False
        self.ended = False
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._reading = True
        self._whole = True

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > UNREAD_BYTES and self._reading:
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self.ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._writable.set()
        self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    # the caller's side

    @property
    def reusable(self) -> bool:
        """Whether the next request may go here: all read, nothing too much, still open."""
        return self._whole and not self._buffer and not self.ended

    @property
    def has_unread(self) -> bool:
        return bool(self._buffer)

    async def send(self, data: bytes | bytearray) -> None:
        """Write, and wait while the function is slow to take it; nothing when it is gone."""
        self._whole = False
        if not self._transport.is_closing():
            self._transport.write(data)
            await self._writable.wait()

    def close(self) -> None:
        self._transport.abort()

    async def head(self) -> Head:
        """The head of the answer to the request just sent; interim (1xx) answers are passed over.

        Raises `Ended` or `Malformed`.
        """
        for _ in range(MOST_INTERIM):
            head = _parse(await self._until(b"\r\n\r\n", HEAD_BYTES))
            if head.status == 101:
                raise Malformed("it switched protocols without being asked")
            if head.status >= 200:
                self.used = True
                return head
        raise Malformed("it sends interim answers without end")

    async def body(self, head: Head, method: str) -> AsyncIterator[bytes]:
        """The pieces of the body; the connection is `reusable` after the last, if ever again."""
        if method == "HEAD" or head.status in (204, 304):
            pass
        elif head.chunked:
            async for piece in self._chunks():
                yield piece
        elif head.length is not None:
            async for piece in self._exactly(head.length):
                yield piece
        else:
            async for piece in self._rest():
                yield piece
        self._whole = head.keep

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := _chunk_size(await self._until(b"\r\n", 1024)):
            async for piece in self._exactly(size):
                yield piece
            if await self._until(b"\r\n", 0):
                raise Malformed("a chunk is longer than it said")
        # trailers: nothing we pass on
        for _ in range(100):
            if not await self._until(b"\r\n", HEAD_BYTES):
                return
        raise Malformed("it sends trailers without end")

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            piece = await self._piece(size)
            size -= len(piece)
            yield piece

    async def _rest(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield await self._piece(PIECE_BYTES)
        except Ended:  # which is also why this connection is never reusable
            return

    async def _piece(self, most: int) -> bytes:
        if not self._buffer:
            await self._more()
        piece = bytes(self._buffer[: min(most, PIECE_BYTES)])
        del self._buffer[: len(piece)]
        return piece

    async def _until(self, mark: bytes, most: int) -> bytes:
        """The bytes before `mark`, of which there may be `most`; mark and all are taken."""
        while (at := self._buffer.find(mark)) < 0 and len(self._buffer) < most + len(mark):
            await self._more()
        if not 0 <= at <= most:
            raise Malformed(f"what should have at most {most} bytes has more")
        taken = bytes(self._buffer[:at])
        del self._buffer[: at + len(mark)]
        return taken

    async def _more(self) -> None:
        """Wait until there is more to read; raises `Ended` when there never will be."""
        if self.ended:
            raise Ended
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        before = len(self._buffer)
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter
        if len(self._buffer) == before:
            raise Ended


def _parse(data: bytes) -> Head:
    line, _, rest = data.decode("latin-1").partition("\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise Malformed("its first line is not that of an HTTP/1.1 answer")
    try:
        headers = HTTPHeaders.parse(rest)
    except HTTPInputError as error:
        raise Malformed(f"its headers are malformed: {error}") from error
    lengths = set(headers.get_list("Content-Length"))
    codings = headers.get("Transfer-Encoding", "").lower()
    if codings not in ("", "chunked") or len(lengths) > 1:
        raise Malformed("the length of its body is not clear")
    return Head(
        status=int(match[2]),
        reason=match[3] or "",
        headers=headers,
        length=None if codings or not lengths else _length(lengths.pop()),
        chunked=bool(codings),
        # two lengths: somebody is confused, or wants us to be
        keep=_keeps(match[1], headers) and not (codings and lengths),
    )


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise Malformed("its Content-Length is not a number")
    return int(text)


def _keeps(minor: str, headers: HTTPHeaders) -> bool:
    options = headers.get("Connection", "").lower()
    return "close" not in options and (minor == "1" or "keep-alive" in options)


def _chunk_size(line: bytes) -> int:
    match = _CHUNK_LINE.fullmatch(line)
    if not match:
        raise Malformed("a chunk does not say its length")
    return int(match[1], 16)


class Pool:
    """Open connections to functions, kept a while for the next call."""

    def __init__(self) -> None:
        self._idle: dict[Address, dict[Connection, asyncio.TimerHandle]] = defaultdict(dict)

    async def take(self, address: Address, fresh: bool = False) -> Connection:
        """A connection to `address`: a kept one unless it has to be `fresh`; raises `OSError`."""
        while not fresh and (idle := self._idle.get(address)):
            connection, timer = idle.popitem()
            timer.cancel()
            if connection.reusable:
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            _, connection = await loop.create_connection(Connection, *address)
        return connection

    def give(self, address: Address, connection: Connection) -> None:
        """Keep the connection for another call, or close it when it cannot serve one."""
        if not connection.reusable or len(self._idle.get(address, ())) >= IDLE_MOST:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        self._idle[address][connection] = loop.call_later(
            IDLE_SECONDS, self._drop, address, connection
        )

    def _drop(self, address: Address, connection: Connection) -> None:
        connection.close()
        del self._idle[address][connection]
        if not self._idle[address]:
            del self._idle[address]

    def close(self) -> None:
        """Close all connections that are kept."""
        for idle in self._idle.values():
            for connection, timer in idle.items():
                timer.cancel()
                connection.close()
        self._idle.clear()
