"""Blocking HTTP/1.1 to a Marathon on this machine, which is fob's engine: every start waits for it.

An exchange takes a third of what one through requests does: docs/architecture.md has the figures.
"""

import contextlib
import functools
import select
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

from fob.http import message
from fob.http.body import Body, UnsizedBody, response_body
from fob.http.message import Malformed, ResponseHead
from fob.marathon.access import AGENT, Access, origin
from fob.marathon.errors import NoConnection

CHUNK_BYTES = 65536


class Closed(ConnectionError):
    """The server has closed the connection."""


class Sockets:
    """The open sockets of a client, so that closing it wakes the threads that wait on them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.closed = False

    def add(self, sock: socket.socket) -> None:
        """Remember the socket. Raises OSError when it comes too late."""
        with self._lock:
            if self.closed:
                sock.close()
                raise ConnectionAbortedError("the Marathon client is closed")
            self._open.add(sock)

    def close(self) -> None:
        with self._lock:
            self.closed = True
            for sock in self._open:
                with contextlib.suppress(OSError):
                    # not SSLSocket's own shutdown: it would undo TLS under the reader
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


class Direct:
    """Connections to Marathon, kept for whichever thread asks next. `timeouts` are seconds: to
    connect, and for each wait after that. Every failure is an `OSError`."""

    def __init__(self, access: Access, timeouts: tuple[float, float], sockets: Sockets) -> None:
        _, host, port = origin(access.url)
        self._there = host, port
        self._headers = {"User-Agent": AGENT}
        if access.authorization:
            self._headers["Authorization"] = access.authorization
        self._connect_seconds, self._read_seconds = timeouts
        self._sockets = sockets
        self._kept: list[socket.socket] = []

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def whole_url(url: str, params: tuple[tuple[str, Any], ...]) -> str:
        """Return `url` with its query; cached, because few URLs are requested again and again."""
        query = "?" + urlencode(params, doseq=True) if params else ""
        # leaves reserved characters and what is quoted already, as requests does
        return quote(url + query, safe="!#$%&'()*+,/:;=?@[]~")

    def ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
    ) -> "DirectReply":
        """Send a request in one write: two would wake the server twice."""
        request = message.request_bytes(method, url, self._headers | headers, data)
        sock = self._taken() or self._connected()
        try:
            sock.sendall(request)
            return DirectReply(sock, self._give)
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Close the connections that are kept."""
        while sock := self._last():
            sock.close()

    def _taken(self) -> socket.socket | None:
        """A kept connection on which nothing has come since: neither its end, nor what nobody asked
        for."""
        while sock := self._last():
            if not _speaks(sock):
                return sock
            sock.close()
        return None

    def _last(self) -> socket.socket | None:
        with contextlib.suppress(IndexError):
            return self._kept.pop()
        return None

    def _connected(self) -> socket.socket:
        try:
            sock = socket.create_connection(self._there, self._connect_seconds)
        except OSError as error:
            raise NoConnection(str(error)) from error
        self._sockets.add(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(self._read_seconds)
        return sock

    def _give(self, sock: socket.socket) -> None:
        self._kept.append(sock)
        if self._sockets.closed:  # and nobody will come to close it
            self.close()


class DirectReply:
    """An answer as it comes. One that is not read to its end loses its connection."""

    def __init__(self, sock: socket.socket, give: Callable[[socket.socket], None]) -> None:
        self._sock = sock
        self._give = give
        self._clean = False
        self._head, self._unread = self._read_head()
        self.status = self._head.status
        self.headers = self._head.headers

    def close(self) -> None:
        """Let go of it, once."""
        if self._clean:
            self._give(self._sock)
        else:
            self._sock.close()

    def pieces(self) -> Iterator[bytes]:
        """The body, each piece when it has come."""
        body, data = self._body(), self._unread
        while True:
            try:
                piece, rest = body.feed(data)
            except Malformed as error:
                raise _odd(error) from error
            if piece:
                yield piece
            if body.ended:
                # more than was said is never taken for the next answer
                self._clean = self._head.keep_alive and not rest
                return
            try:
                data = _more(self._sock)
            except Closed:
                if isinstance(body, UnsizedBody):
                    return
                raise

    def _body(self) -> Body:
        head = self._head
        encoding = head.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise _odd(f"encoded as {encoding[:50]}, which nobody asked for")
        return response_body(head)

    def _read_head(self) -> tuple[ResponseHead, bytes]:
        """The head, and what follows it."""
        data = b""
        while True:
            data += _more(self._sock)
            try:
                if found := message.split_head(data):
                    head = message.parse_response(found[0])
                    break
            except Malformed as error:
                raise _odd(error) from error
        if head.status < 200:
            raise _odd("an interim answer, which nobody asked for")
        return head, found[1]


def _speaks(sock: socket.socket) -> bool:
    """Whether something can be read there now, or its end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(CHUNK_BYTES)
    if not data:
        raise Closed("it closed the connection")
    return data


def _odd(what: object) -> ConnectionError:
    return ConnectionError(f"what it sent is no answer: {what}")
