"""Heads of requests, read strictly as RFC 9112 has them."""

from __future__ import annotations

from fob.runner.core.errors import RequestError

MAX_HEAD_BYTES = 65536  # of a request's line and headers
MAX_BODY_BYTES = 16 << 20
MAX_KNOWN_HEADS = 64  # remembered at once
MAX_KNOWN_HEAD_BYTES = 2048  # of a head that is remembered

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
ID_LINE = b"X-Request-Id: "


class Request:
    """One request; `length` is what is still to come of its body in bytes, -1 if it is chunked.

    Calls with the same head share one request if it has no body, so it must not be changed.
    """

    def __init__(self, head: bytes) -> None:
        """Parse a head without its empty line. Raises RequestError if it is not strict HTTP/1."""
        lines = head.decode("latin-1").split("\r\n")
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
            raise bad_request("a line without CR LF at its end")
        if b"\0" in head:
            raise bad_request("a NUL byte")
        self._read_line(lines.pop(0))
        self._read_headers(lines)
        self.body = b""
        self.length = self._body_length()
        expected = self.headers.get("expect", "").lower()
        self.expects = expected == "100-continue" and self.version == "HTTP/1.1"
        if expected not in ("", "100-continue"):
            message = "the only supported expectation is 100-continue"
            raise RequestError(417, "expectation_failed", message)
        choice = self.headers.get("connection", "").lower()
        self.keep = self.version == "HTTP/1.0" and "keep-alive" in choice
        self.close = "close" in choice or (self.version == "HTTP/1.0" and not self.keep)
        # its response has a body and no Connection header
        self.plain = not (self.keep or self.close or self.method == "HEAD")

    def _read_line(self, line: str) -> None:
        try:
            self.method, target, self.version = line.split(" ")
            if not target.isascii():
                target = target.encode("latin-1").decode()
        except ValueError:
            raise bad_request("the first line is not METHOD TARGET VERSION") from None
        if not self.method or self.method.lower().strip(TOKEN) or not target.isprintable():
            raise bad_request("the first line is not METHOD TARGET VERSION")
        if self.version not in ("HTTP/1.1", "HTTP/1.0"):
            if self.version[:5] == "HTTP/":
                message = "this server speaks HTTP/1.1 and HTTP/1.0"
                raise RequestError(505, "http_version", message)
            raise bad_request("the first line does not end in HTTP/1.1")
        self.target = target
        self.query = target.partition("#")[0].partition("?")[2]

    def _read_headers(self, lines: list[str]) -> None:
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name = name.lower()
            value = value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
            if not colon:
                raise bad_request("a header without a colon")
        if "" in headers or "".join(headers).strip(TOKEN):
            raise bad_request("a header's name is not a token")
        host = headers.get("host")
        if "," in host if host is not None else self.version == "HTTP/1.1":
            raise bad_request("not exactly one Host header")
        self.headers = headers

    def _body_length(self) -> int:
        coding, length = (self.headers.get(h) for h in ("transfer-encoding", "content-length"))
        if coding is not None:
            if length is not None or self.version == "HTTP/1.0":
                raise bad_request("Transfer-Encoding with Content-Length, or in HTTP/1.0")
            if coding.lower() != "chunked":
                message = "the only supported transfer coding is chunked"
                raise RequestError(501, "not_implemented", message)
            return -1
        if length is None:
            return 0
        if not (length.isascii() and length.isdigit()):
            raise bad_request("Content-Length is not a number")
        if len(length) > 15:
            raise body_too_large()
        return int(length)

    def copy(self) -> Request:
        other = Request.__new__(Request)
        other.__dict__.update(self.__dict__)
        return other

    def with_header(self, name: str, value: str) -> Request:
        """A copy with one more header."""
        other = Request.__new__(Request)
        other.__dict__ = self.__dict__ | {"headers": self.headers | {name: value}}
        return other

    @property
    def path(self) -> str:
        """The path as it was sent, percent-encoded."""
        path = self.target.partition("#")[0].partition("?")[0]
        return path if path[:1] == "/" else "/" + path.partition("://")[2].partition("/")[2]


class KnownHeads(dict):  # type: ignore[type-arg]
    """Requests by their heads, with the empty line: clients send the same few over and over.

    The id that a dispatcher writes into the last line of each head is read separately, so it does
    not make every head a new one.
    """

    def __missing__(self, head: bytes) -> Request:
        last = head.rfind(b"\r\n", 0, -4) + 2
        if head.startswith(ID_LINE, last):
            value = head[last + len(ID_LINE) : -4].decode("latin-1")
            if value.replace("-", "").isalnum() and value.isascii():
                request: Request = self[head[:last] + b"\r\n"]
                if "x-request-id" not in request.headers:
                    return request.with_header("x-request-id", value)
        request = Request(head[:-4])
        if len(head) <= MAX_KNOWN_HEAD_BYTES:
            if len(self) >= MAX_KNOWN_HEADS:
                self.clear()
            self[head] = request
        return request


def bad_request(message: str) -> RequestError:
    return RequestError(400, "bad_request", f"not valid HTTP: {message}")


def body_too_large() -> RequestError:
    return RequestError(413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")


def head_too_large() -> RequestError:
    return RequestError(
        431, "head_too_large", f"the headers are larger than {MAX_HEAD_BYTES} bytes"
    )
