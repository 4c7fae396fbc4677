import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fob.http.body import Body, ChunkedBody, SizedBody, UnsizedBody
from fob.http.message import Malformed


def fed(body: Body, data: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """Feed data in pieces; return the content of the body and the bytes after it."""
    whole = b""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if body.ended:
            return whole, data[start:]
        piece, rest = body.feed(data[start:end])
        whole += piece
        assert body.ended or not rest
        if body.ended:
            return whole, rest + data[end:]
    return whole, b""


@given(st.lists(st.binary(min_size=1)), st.binary(), st.lists(st.integers(min_value=0)))
def test_chunks_are_parsed_however_they_are_split(pieces, after, cuts):
    data = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    body = ChunkedBody()
    assert fed(body, data + b"0\r\nA: b\r\n\r\n" + after, cuts) == (b"".join(pieces), after)
    assert body.ended


@given(st.binary(), st.binary(), st.lists(st.integers(min_value=0)))
def test_a_sized_body_ends_at_its_length(content, after, cuts):
    body = SizedBody(len(content))
    assert fed(body, content + after, cuts) == (content, after)
    assert body.ended


def test_an_unsized_body_takes_everything():
    body = UnsizedBody()
    assert body.feed(b"abc") == (b"abc", b"")
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
        ChunkedBody().feed(data)
