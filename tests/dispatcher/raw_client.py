"""An HTTP client that sends exactly the given bytes."""

import json
import socket
from typing import Any, NamedTuple


class RawResponse(NamedTuple):
    """A response; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> Any:
        """The code of an error, which must have the one shape."""
        assert self.headers["content-type"] == "application/json; charset=UTF-8"
        error = json.loads(self.body)
        assert list(error) == ["error"]
        assert sorted(error["error"]) == ["code", "details", "message"]
        return error["error"]["code"]


class RawClient:
    """One connection; as a context manager it is closed at the end."""

    def __init__(self, port: int, timeout: float = 10, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self._unread = bytearray()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def ask(self, line: str, *headers: str, body: bytes | str = b"") -> None:
        """Send a request with these headers and a Host."""
        self.send("\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers, "", ""]))
        self.send(body)

    def response(self, has_body: bool = True) -> RawResponse:
        """The next response."""
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines[1:])}
        status = int(lines[0].split()[1])
        if not has_body or status in (100, 204, 304):
            return RawResponse(status, headers, b"")
        if "content-length" in headers:
            return RawResponse(status, headers, self._exactly(int(headers["content-length"])))
        if "transfer-encoding" in headers:
            return RawResponse(status, headers, self._chunks())
        return RawResponse(status, headers, self.rest())

    def _chunks(self) -> bytes:
        pieces = []
        while size := int(self._until(b"\r\n"), 16):
            pieces.append(self._exactly(size))
            assert self._until(b"\r\n") == b""
        assert self._until(b"\r\n") == b""
        return b"".join(pieces)

    def rest(self) -> bytes:
        """Everything until the server closes the connection."""
        while self._more():
            pass
        return self._exactly(len(self._unread))

    def _more(self) -> bytes:
        data = self.socket.recv(65536)
        self._unread += data
        return data

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._unread:
            assert self._more(), f"closed after {bytes(self._unread[:200])!r}"
        before = self._exactly(self._unread.index(mark) + len(mark))
        return before[: -len(mark)]

    def _exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            assert self._more(), f"closed {size - len(self._unread)} bytes early"
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken
