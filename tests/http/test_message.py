import pytest

from fob.http import message
from fob.http.message import Malformed, MessageTooLarge


def request(*lines: str) -> message.RequestHead:
    return message.parse_request("\r\n".join(lines).encode("latin-1"))


def test_a_request_is_parsed():
    read = request("POST /a?b=%20 HTTP/1.1", "host: x", "content-LENGTH:  12\t", "A: 1", "a: 2, 3")
    assert (read.method, read.target, read.minor) == ("POST", "/a?b=%20", 1)
    assert read.headers == {"Host": "x", "Content-Length": "12", "A": "1,2, 3"}
    assert read.fields[2:] == [("A", "1"), ("A", "2, 3")]
    assert (read.length, read.keep_alive) == (12, True)


@pytest.mark.parametrize(
    ("line", "header", "keep_alive"),
    [
        ("GET / HTTP/1.1", "X: y", True),
        ("GET / HTTP/1.1", "Connection: close", False),
        ("GET / HTTP/1.1", "Connection: X, Close", False),
        ("GET / HTTP/1.0", "X: y", False),
        ("GET / HTTP/1.0", "Connection: Keep-Alive", True),
        ("GET / HTTP/1.9", "X: y", True),
    ],
)
def test_whether_the_connection_stays_open(line, header, keep_alive):
    assert request(line, "Host: x", header).keep_alive is keep_alive


def test_without_length_or_coding_a_request_has_no_body():
    assert request("GET / HTTP/1.1", "Host: x").length == 0
    assert request("GET / HTTP/1.1", "Host: x", "Transfer-Encoding: Chunked").length is None


@pytest.mark.parametrize(
    "line",
    [
        "", "GET", "GET /", "GET / HTTP/2.0", "GET / HTTP/1.10", "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ", " GET / HTTP/1.1", "G(T / HTTP/1.1", "GET /a b HTTP/1.1",
        "GET /\t HTTP/1.1", "GET /\x7f HTTP/1.1", "GET / http/1.1", "GET / HTTP/1.\xb2",
        "GET /\r HTTP/1.1", "GET /\n HTTP/1.1", "\x16\x03\x01",
    ],
)  # fmt: skip
def test_a_malformed_request_line_is_refused(line):
    with pytest.raises(Malformed):
        request(line, "Host: x")


@pytest.mark.parametrize(
    "header",
    [
        "no colon", ": no name", "A : space", "A\t: tab", " A: folded", "\tfolded", "A: b\nC: d",
        "A: b\rC: d", "A: \0", "A: \x7f", "A(: b", "\xe4: b",
    ],
)  # fmt: skip
def test_a_malformed_header_is_refused(header):
    with pytest.raises(Malformed):
        request("GET / HTTP/1.1", "Host: x", header)
    with pytest.raises(Malformed):
        message.parse_response(f"HTTP/1.1 200 OK\r\n{header}".encode("latin-1"))


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 1", "Transfer-Encoding: chunked"),
        ("Content-Length: 1", "Content-Length: 2"),
        ("Content-Length: 1", "Content-Length: 1"),
        ("Content-Length: 1, 1",),
        ("Content-Length: -1",),
        ("Content-Length: +1",),
        ("Content-Length: 0x1",),
        ("Content-Length: 1_0",),
        ("Content-Length: \xb2",),
        ("Content-Length:",),
        ("Content-Length: 1234567890123456",),
        ("Transfer-Encoding: gzip",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: \x0bchunked",),
        ("Transfer-Encoding:",),
    ],
)
def test_a_body_of_ambiguous_length_is_refused(headers):
    with pytest.raises(Malformed):
        request("POST / HTTP/1.1", "Host: x", *headers)
    with pytest.raises(Malformed):
        message.parse_response("\r\n".join(["HTTP/1.1 200 OK", *headers]).encode("latin-1"))


def test_http_1_0_has_no_chunked_bodies():
    with pytest.raises(Malformed):
        request("POST / HTTP/1.0", "Host: x", "Transfer-Encoding: chunked")


@pytest.mark.parametrize("hosts", [(), ("Host: a", "Host: b"), ("Host: a, b",)])
def test_a_request_has_exactly_one_host(hosts):
    with pytest.raises(Malformed):
        request("GET / HTTP/1.1", *hosts)


def test_http_1_0_needs_no_host():
    assert request("GET / HTTP/1.0").headers == {}


def test_a_response_is_parsed():
    head = message.parse_response(b"HTTP/1.1 404 Not Found\r\nSet-Cookie: a\r\nSet-Cookie: b")
    assert (head.status, head.reason) == (404, "Not Found")
    assert head.fields == [("Set-Cookie", "a"), ("Set-Cookie", "b")]
    assert (head.length, head.chunked, head.keep_alive) == (None, False, True)
    assert message.parse_response(b"HTTP/1.1 200").reason == ""


def test_a_head_is_split_from_what_follows():
    assert message.split_head(b"a\r\nb\r\n\r\nc\r\n\r\n") == (b"a\r\nb", b"c\r\n\r\n")
    for part in (b"", b"a", b"a\r", b"a\r\n", b"a\r\n\r"):
        assert message.split_head(part) is None


@pytest.mark.parametrize("data", [b"a\nb", b"a\n\n", b"a\rb", b"\n", b"a\r\n\n"])
def test_other_line_ends_are_refused_at_once(data):
    with pytest.raises(Malformed):
        message.split_head(data)


def test_a_head_without_end_is_too_large():
    with pytest.raises(MessageTooLarge):
        message.split_head(b"x" * (message.MAX_HEAD_BYTES + 1))
    with pytest.raises(MessageTooLarge):
        message.split_head(b"x" * (message.MAX_HEAD_BYTES + 1) + b"\r\n\r\n")
    with pytest.raises(MessageTooLarge):
        request("GET / HTTP/1.1", "Host: x", *["A: b"] * message.MAX_FIELDS)
