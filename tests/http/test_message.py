import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fob.http import message
from fob.http.message import (
    ChunkedBody,
    Malformed,
    MessageTooLarge,
    SizedBody,
    UnsizedBody,
)


def request(*lines: str) -> message.RequestHead:
    return message.request("\r\n".join(lines).encode("latin-1"))


def test_a_request_is_read():
    read = request("POST /a?b=%20 HTTP/1.1", "host: x", "content-LENGTH:  12\t", "A: 1", "a: 2, 3")
    assert (read.method, read.target, read.minor) == ("POST", "/a?b=%20", 1)
    assert read.headers == {"Host": "x", "Content-Length": "12", "A": "1,2, 3"}
    assert read.fields[2:] == [("A", "1"), ("A", "2, 3")]
    assert (read.length, read.keep) == (12, True)


@pytest.mark.parametrize(
    ("line", "header", "keep"),
    [
        ("GET / HTTP/1.1", "X: y", True),
        ("GET / HTTP/1.1", "Connection: close", False),
        ("GET / HTTP/1.1", "Connection: X, Close", False),
        ("GET / HTTP/1.0", "X: y", False),
        ("GET / HTTP/1.0", "Connection: Keep-Alive", True),
        ("GET / HTTP/1.9", "X: y", True),
    ],
)
def test_who_keeps_the_connection(line, header, keep):
    assert request(line, "Host: x", header).keep is keep


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
        message.answer(f"HTTP/1.1 200 OK\r\n{header}".encode("latin-1"))


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
def test_a_body_whose_end_is_not_clear_is_refused(headers):
    with pytest.raises(Malformed):
        request("POST / HTTP/1.1", "Host: x", *headers)
    with pytest.raises(Malformed):
        message.answer("\r\n".join(["HTTP/1.1 200 OK", *headers]).encode("latin-1"))


def test_chunks_are_not_for_http_1_0():
    with pytest.raises(Malformed):
        request("POST / HTTP/1.0", "Host: x", "Transfer-Encoding: chunked")


@pytest.mark.parametrize("hosts", [(), ("Host: a", "Host: b"), ("Host: a, b",)])
def test_a_request_has_one_host(hosts):
    with pytest.raises(Malformed):
        request("GET / HTTP/1.1", *hosts)


def test_http_1_0_may_go_without_a_host():
    assert request("GET / HTTP/1.0").headers == {}


def test_an_answer_is_read():
    head = message.answer(b"HTTP/1.1 404 Not Found\r\nSet-Cookie: a\r\nSet-Cookie: b")
    assert (head.status, head.reason) == (404, "Not Found")
    assert head.fields == [("Set-Cookie", "a"), ("Set-Cookie", "b")]
    assert (head.length, head.chunked, head.keep) == (None, False, True)
    assert message.answer(b"HTTP/1.1 200").reason == ""


def test_a_head_is_split_from_what_follows():
    assert message.split(b"a\r\nb\r\n\r\nc\r\n\r\n") == (b"a\r\nb", b"c\r\n\r\n")
    for part in (b"", b"a", b"a\r", b"a\r\n", b"a\r\n\r"):
        assert message.split(part) is None


@pytest.mark.parametrize("data", [b"a\nb", b"a\n\n", b"a\rb", b"\n", b"a\r\n\n"])
def test_lines_that_end_otherwise_are_refused_at_once(data):
    with pytest.raises(Malformed):
        message.split(data)


def test_a_head_without_end_is_too_large():
    with pytest.raises(MessageTooLarge):
        message.split(b"x" * (message.HEAD_BYTES + 1))
    with pytest.raises(MessageTooLarge):
        message.split(b"x" * (message.HEAD_BYTES + 1) + b"\r\n\r\n")
    with pytest.raises(MessageTooLarge):
        request("GET / HTTP/1.1", "Host: x", *["A: b"] * message.FIELDS_MOST)


def taken(body: message.Body, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """What the body takes of data that comes in pieces, and what it leaves."""
    whole = b""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if body.ended:
            return whole, data[start:]
        piece, rest = body.take(data[start:end])
        whole += piece
        assert body.ended or not rest
        if body.ended:
            return whole, rest + data[end:]
    return whole, b""


@given(st.lists(st.binary(min_size=1)), st.binary(), st.lists(st.integers(min_value=0)))
def test_chunks_are_read_however_they_are_cut(pieces, after, cuts):
    data = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    body = ChunkedBody()
    assert taken(body, data + b"0\r\nA: b\r\n\r\n" + after, cuts) == (b"".join(pieces), after)
    assert body.ended


@given(st.binary(), st.binary(), st.lists(st.integers(min_value=0)))
def test_a_body_of_a_length_ends_there(content, after, cuts):
    body = SizedBody(len(content))
    assert taken(body, content + after, cuts) == (content, after)
    assert body.ended


def test_a_body_that_ends_with_its_connection_takes_all():
    body = UnsizedBody()
    assert body.take(b"abc") == (b"abc", b"")
    assert not body.ended


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n", b"x\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1_0\r\n", b"1;\n\r\n",
        b"1;\r\r\n", b"1;\0\r\n", b"1 2\r\n", b"1\nab\r\n", b"1234567890abcdef\r\n", b"1\r\nab\r\n",
        b"1\r\na\rb", b"1\r\na\n", b"0\r\nno colon\r\n", b"0\r\n folded: x\r\n", b"0\r\nA: \n\r\n",
        b"1;" + b"x" * 2000, b"0\r\nA: " + b"x" * 9000, b"0\r\n" + b"A: b\r\n" * 3000,
    ],
)  # fmt: skip
def test_malformed_chunks_are_refused(data):
    with pytest.raises(Malformed):
        ChunkedBody().take(data)
