"""A server that sends exactly the bytes of a test, at the time the test chooses."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Exchange:
    """A request, and the connection for its response."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    sock: socket.socket
    ended: threading.Event = field(repr=False)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        """Send a complete response; `Content_Type="text/html"` sets a header."""
        lines = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        lines |= {key.replace("_", "-"): value for key, value in headers.items()}
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
        self.send(head.encode() + b"\r\n" + body)

    def hang(self) -> None:
        """Send nothing until the server is closed or the client has disconnected."""
        self.sock.settimeout(0.02)
        while not self.ended.is_set():
            with contextlib.suppress(TimeoutError):
                if self.sock.recv(1) == b"":
                    return


class RawServer:
    """Calls `play` with every request, in one thread per connection."""

    def __init__(
        self, play: Callable[[Exchange], None], context: ssl.SSLContext | None = None
    ) -> None:
        self._play = play
        self._context = context
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._socks: list[socket.socket] = []
        self.seen: list[Exchange] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        self._spawn(self._accept)

    def close(self) -> None:
        self._ended.set()
        for sock in (self._listener, *self._socks):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in (self._listener, *self._socks):
            sock.close()

    def paths(self) -> list[str]:
        return [exchange.path for exchange in self.seen]

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._socks.append(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            if self._context:
                sock = stack.enter_context(self._context.wrap_socket(sock, server_side=True))
            else:
                stack.callback(sock.close)
            with sock.makefile("rb") as file:
                while exchange := self._read(sock, file):
                    self.seen.append(exchange)
                    self._play(exchange)

    def _read(self, sock: socket.socket, file: Any) -> Exchange | None:
        line = file.readline().decode().split()
        if not line:
            return None
        headers = dict(self._headers(file))
        body = file.read(int(headers.get("content-length", 0)))
        return Exchange(line[0], line[1], headers, body, sock, self._ended)

    def _headers(self, file: Any) -> Iterator[tuple[str, str]]:
        while line := file.readline().decode().strip():
            name, _, value = line.partition(":")
            yield name.lower(), value.strip()


@contextlib.contextmanager
def serving(
    play: Callable[[Exchange], None], context: ssl.SSLContext | None = None
) -> Iterator[RawServer]:
    server = RawServer(play, context)
    try:
        yield server
    finally:
        server.close()
