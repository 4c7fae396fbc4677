"""HTTP byte by byte, for tests of what a client library would hide."""

import socket
from collections.abc import Callable

from running import Runner

Serve = Callable[..., Runner]

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*headers: bytes) -> bytes:
    """The head of a POST."""
    return b"\r\n".join([b"POST / HTTP/1.1", b"Host: x", *headers, b"", b""])


def receive(sock: socket.socket, until: bytes) -> bytes:
    """Receive up to and including `until`."""
    received = b""
    while until not in received:
        more = sock.recv(1000)
        assert more, f"the end, without {until!r}: {received!r}"
        received += more
    return received


def echoes_in_upper_case_while_it_is_sent_to(runner: Runner) -> None:
    """Send pieces, and wait for the echo of each before the next."""
    with runner.connect() as sock:
        sock.sendall(post(b"Transfer-Encoding: chunked"))
        for piece in (b"one\n", b"two\n", b"three\n"):
            sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            receive(sock, piece.upper())
        sock.sendall(b"0\r\n\r\n")
        receive(sock, b"0\r\n\r\n")
