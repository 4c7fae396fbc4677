"""Blocking HTTP/1.1 to a Marathon on this machine, such as fob's engine, without requests.

Every start of a function waits for it. An exchange takes a third of the time that it takes through
requests; docs/architecture.md has the figures.
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
from fob.marathon.access import USER_AGENT, Access, origin
from fob.marathon.errors import NoConnection

CHUNK_BYTES = 65536


class ClosedByServer(ConnectionError):
    """The server has closed the connection."""


class OpenSockets:
    """The open sockets of a client. Closing it wakes the threads that are blocked on them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self.closed = False

    def add(self, sock: socket.socket) -> None:
        """Remember a new socket. After `close`, closes it and raises `OSError`."""
        with self._lock:
            if self.closed:
                sock.close()
                raise ConnectionAbortedError("the Marathon client is closed")
            self._sockets.add(sock)

    def close(self) -> None:
        """Shut down every socket; the threads that use them close them."""
        with self._lock:
            self.closed = True
            for sock in self._sockets:
                with contextlib.suppress(OSError):
                    # close() would not wake a thread that is blocked in recv(); shutdown() does.
                    # Not SSLSocket.shutdown, which would drop TLS while another thread reads.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


class DirectClient:
    """A pool of keep-alive connections that all threads share; every failure is an `OSError`.

    `timeouts` are seconds: to connect, and for each read and write.
    """

    def __init__(self, access: Access, timeouts: tuple[float, float], sockets: OpenSockets) -> None:
        _, host, port = origin(access.url)
        self._address = host, port
        self._headers = {"User-Agent": USER_AGENT}
        if access.authorization:
            self._headers["Authorization"] = access.authorization
        self._connect_timeout, self._read_timeout = timeouts
        self._sockets = sockets
        self._idle: list[socket.socket] = []

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def whole_url(url: str, params: tuple[tuple[str, Any], ...]) -> str:
        """Return `url` with its query; cached, because few URLs are requested again and again."""
        query = "?" + urlencode(params, doseq=True) if params else ""
        # leaves reserved characters and what is quoted already, as requests does
        return quote(url + query, safe="!#$%&'()*+,/:;=?@[]~")

    def request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
    ) -> "DirectResponse":
        """Send a request and return the response, its body unread."""
        # one write: two would wake the server twice
        request = message.request_bytes(method, url, self._headers | headers, data)
        sock = self._reuse() or self._connect()
        try:
            sock.sendall(request)
            return DirectResponse(sock, self._release)
        except BaseException:
            sock.close()
            raise

    def close(self) -> None:
        """Close the idle connections."""
        while sock := self._pop():
            sock.close()

    def _reuse(self) -> socket.socket | None:
        """Take an idle connection; None when there is none.

        Before a request is sent nothing can be readable. If something is, it is either EOF or bytes
        that do not belong to any request, and the connection is unusable.
        """
        while sock := self._pop():
            if not _readable(sock):
                return sock
            sock.close()
        return None

    def _pop(self) -> socket.socket | None:
        # pop, and append in _release, are atomic: threads need no lock
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def _connect(self) -> socket.socket:
        try:
            sock = socket.create_connection(self._address, self._connect_timeout)
        except OSError as error:
            raise NoConnection(str(error)) from error
        self._sockets.add(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(self._read_timeout)
        return sock

    def _release(self, sock: socket.socket) -> None:
        """Keep the connection for the next request."""
        self._idle.append(sock)
        if self._sockets.closed:  # our own close() may have run before the append
            self.close()


class DirectResponse:
    """A response whose body is read as it arrives.

    Its connection is used again only if the body was read to its end.
    """

    def __init__(self, sock: socket.socket, release: Callable[[socket.socket], None]) -> None:
        self._sock = sock
        self._release = release
        self._reusable = False
        self._head, self._unread = self._read_head()
        self.status = self._head.status
        self.headers = self._head.headers

    def close(self) -> None:
        """Release the connection or close it. Call this once."""
        if self._reusable:
            self._release(self._sock)
        else:
            self._sock.close()

    def iter_bytes(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        body, data = self._body(), self._unread
        while True:
            try:
                chunk, rest = body.feed(data)
            except Malformed as error:
                raise _malformed(error) from error
            if chunk:
                yield chunk
            if body.ended:
                # bytes after the body must not be taken for the next response
                self._reusable = self._head.keep_alive and not rest
                return
            try:
                data = _receive(self._sock)
            except ClosedByServer:
                if isinstance(body, UnsizedBody):
                    return
                raise

    def _body(self) -> Body:
        head = self._head
        encoding = head.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise _malformed(f"unrequested content encoding {encoding[:50]}")
        return response_body(head)

    def _read_head(self) -> tuple[ResponseHead, bytes]:
        """Return the head, and the bytes received after it."""
        data = b""
        while True:
            data += _receive(self._sock)
            try:
                if found := message.split_head(data):
                    head = message.parse_response(found[0])
                    break
            except Malformed as error:
                raise _malformed(error) from error
        if head.status < 200:
            raise _malformed(f"unrequested interim response {head.status}")
        return head, found[1]


def _readable(sock: socket.socket) -> bool:
    """Return whether bytes or EOF can be read without blocking."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _receive(sock: socket.socket) -> bytes:
    data = sock.recv(CHUNK_BYTES)
    if not data:
        raise ClosedByServer("the server closed the connection")
    return data


def _malformed(why: object) -> ConnectionError:
    return ConnectionError(f"malformed response: {why}")
