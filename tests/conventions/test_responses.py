"""What a function's results become: bytes, whole responses, streams."""

import json
import os
import socket
from typing import Any

import pytest
from talk import GET, Serve, receive

import live
from running import Answer, Runner, read_all


def function(body: str) -> str:
    return f"def handler(**fields):\n    print('seen')\n    {body}\n"


@pytest.mark.parametrize("result", ["b'x\\0y'", "bytearray(b'x\\0y')", "memoryview(b'x\\0y')"])
def test_bytes_are_the_body(serve: Serve, result: str) -> None:
    runner = serve(function(f"return {result}"))
    answer = runner.call()
    assert (answer.status, answer.body) == (200, b"x\0y")
    assert answer.headers == {"Content-Type": "application/octet-stream", "Content-Length": "3"}
    assert runner.stdout == "seen\n"


@pytest.mark.parametrize(
    ("result", "status", "kind", "body"),
    [
        ("'é', 200, {}", 200, "text/plain; charset=utf-8", "é".encode()),
        ("'a', 404, {'content-type': 'text/html'}", 404, "text/html", b"a"),
        ("b'a', 500, {}", 500, "application/octet-stream", b"a"),
        ("{'a': 1}, 201, {}", 201, "application/json", b'{"a": 1}'),
        ("[1], 299, {}", 299, "application/json", b"[1]"),
        ("None, 200, {}", 200, None, b""),
        ("None, 204, {}", 204, None, b""),
        ("'not sent', 304, {'Content-Type': 'text/css'}", 304, "text/css", b""),
        ("(s for s in 'ab'), 200, {'Content-Type': 'text/css'}", 200, "text/css", b"ab"),
    ],
)
def test_a_tuple_of_body_status_and_headers_is_the_response(
    serve: Serve, result: str, status: int, kind: str | None, body: bytes
) -> None:
    runner = serve(function(f"return {result}"))
    answer = runner.call()
    headers = {name.lower(): value for name, value in answer.headers.items()}
    assert (answer.status, headers.get("content-type"), answer.body) == (status, kind, body)
    assert runner.call().status == status


@pytest.mark.parametrize(
    "result",
    [
        "'a', 200", "'a', '200', {}", "'a', 99, {}", "'a', 600, {}", "'a', True, {}", "1, 200, []",
        "'a', 200, {}, 1", "()",
    ],
)  # fmt: skip
def test_any_other_tuple_is_a_list(serve: Serve, result: str) -> None:
    assert serve(function(f"return {result}")).call().result == json.loads(
        json.dumps(eval(f"({result})"))
    )


def test_a_list_of_three_stays_a_list(serve: Serve) -> None:
    assert serve(function("return ['a', 200, {}]")).call().result == ["a", 200, {}]


def test_a_header_may_have_several_values(serve: Serve) -> None:
    runner = serve(function("return '', 200, {'Set-Cookie': ['a=1', 'b=2'], 'X-Number': 5}"))
    head = runner.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Number: 5\r\n" in head


def test_headers_of_the_connection_are_set_by_the_runner(serve: Serve) -> None:
    headers = "{'Content-Length': '99', 'Connection': 'close', 'Transfer-Encoding': 'gzip'}"
    answer = serve(function(f"return 'abc', 200, {headers}")).call()
    assert answer.headers == {"Content-Type": "text/plain; charset=utf-8", "Content-Length": "3"}


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ("'', 200, {'X': 'a\\r\\nSet-Cookie: b'}", "line break"),
        ("'', 200, {'X Y': 'a'}", "not the name of a header"),
        ("'', 200, {'X': '\\u20ac'}", "not Latin-1"),
        ("'', 150, {}", "150 is not the status of a response"),
        ("{1, 2}, 200, {'X': object()}", None),
        ("object(), 200, {}", "the body is a object that JSON cannot represent"),
        ("(x for x in ['a', {}]), 200, {'Content-Length': 'b'}", "the Content-Length 'b'"),
    ],
)
def test_an_invalid_response_is_500(serve: Serve, result: str, told: str | None) -> None:
    runner = serve(function(f"return {result}"))
    answer = runner.call()
    if told:
        assert (answer.status, answer.error["code"]) == (500, "invalid_result")
        assert told in answer.error["message"]
        assert told in runner.stderr
    assert runner.call("*", method="OPTIONS").status == 200


@pytest.mark.parametrize(
    ("pieces", "kind", "body"),
    [
        ("['a', 'é', b'c']", "text/plain; charset=utf-8", "aéc".encode()),
        ("[b'a', b'', 'é']", "application/octet-stream", "aé".encode()),
        ("[{'a': 1}, 2, 'x']", "application/x-ndjson", b'{"a": 1}\n2\n"x"\n'),
        ("[]", "application/octet-stream", b""),
    ],
)
@pytest.mark.parametrize("way", ["iter({})", "(p for p in {})", "agen({})", "map(same, {})"])
def test_an_iterator_is_streamed_with_the_type_of_its_first_piece(
    serve: Serve, way: str, pieces: str, kind: str, body: bytes
) -> None:
    helpers = (
        "same = lambda p: p\nasync def _agen(pieces):\n    for p in pieces: yield p\nagen = _agen\n"
    )
    answer = serve(helpers + function(f"return {way.format(pieces)}")).call()
    assert answer.headers == {"Content-Type": kind, "Transfer-Encoding": "chunked"}
    assert answer.body == body


def test_a_piece_is_sent_as_soon_as_it_is_yielded(serve: Serve) -> None:
    runner = serve(
        "def go(path):\n    yield 'first\\n'\n    open(path).read()\n    yield 'second\\n'"
    )
    fifo = runner.folder / "fifo"
    os.mkfifo(fifo)
    with runner.connect() as sock:
        sock.sendall(f"GET /?path={fifo} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = receive(sock, b"first")
        fifo.write_text("go on")
        received += receive(sock, b"0\r\n\r\n")
    assert received.endswith(b"6\r\nfirst\n\r\n7\r\nsecond\n\r\n0\r\n\r\n")


def test_http_1_0_gets_a_stream_that_ends_with_the_connection(serve: Serve) -> None:
    runner = serve("def go(): yield from 'abc'")
    got = runner.raw(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert got.endswith(b"Connection: close\r\n\r\nabc")
    assert b"Transfer-Encoding" not in got


@pytest.mark.parametrize("result", ["'abc'", "b'abc'", "iter('abc')", "('abc', 203, {})"])
def test_head_gets_no_body(serve: Serve, result: str) -> None:
    runner = serve(f"def go(): return {result}")
    head = b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"
    got = runner.raw(head + head.replace(b"Host", b"Connection: close\r\nHost"))
    assert got.count(b"HTTP/1.1 20") == 2
    assert b"abc" not in got


def test_an_exception_before_the_first_piece_is_a_500(serve: Serve) -> None:
    answer = serve("def go():\n    1 / 0\n    yield 'a'").call()
    assert answer.error["details"]["traceback"] == ["line 2, in go: 1 / 0"]


@pytest.mark.parametrize(
    ("fault", "logged"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("yield {}", "continued with a dict"),
        ("import sys; sys.exit()", "SystemExit"),
    ],
    ids=["1 / 0", "yield {}", "import sys; sys.exit()"],
)
def test_an_error_in_the_middle_of_a_stream_aborts_the_connection(
    serve: Serve, fault: str, logged: str
) -> None:
    runner = serve(f"def go():\n    yield 'a'\n    {fault}\n    yield 'b'")
    got = runner.raw(GET)
    assert got.endswith(b"1\r\na\r\n")
    assert logged in runner.stderr


def test_a_stream_that_times_out_is_aborted_and_its_iterator_closed(serve: Serve) -> None:
    runner = serve(
        "import time\nended = []\n"
        "def go(ask: bool = False):\n"
        "    if ask: return ended\n"
        "    return stream()\n"
        "def stream():\n"
        "    try:\n"
        "        for _ in range(1000): yield 'a'; time.sleep(0.01)\n"
        "    finally: ended.append(1)\n"
        "handler = go\n",
        FOB_TIMEOUT="0.3",
    )
    got = runner.raw(GET)
    assert got.count(b"1\r\na\r\n") > 3
    assert not got.endswith(b"0\r\n\r\n")
    live.until(lambda: runner.call("/?ask=1").result == [1])


def test_a_stream_whose_client_disconnects_is_closed(serve: Serve) -> None:
    runner = serve(
        "ended = []\n"
        "def _stream():\n"
        "    try:\n"
        "        while True: yield b'x' * 65536\n"
        "    finally: ended.append(1)\n"
        "def go(ask: bool = False): return ended if ask else _stream()\n"
    )
    with runner.connect() as sock:
        sock.sendall(GET)
        sock.recv(1000)
    live.until(lambda: runner.call("/?ask=1").result == [1])
    assert "Traceback" not in runner.stderr


def test_a_slow_reader_of_a_stream_does_not_delay_others(serve: Serve) -> None:
    runner = serve(
        "def go(big: bool = False):\n"
        "    return (b'x' * 65536 for _ in range(200)) if big else 'small'"
    )
    with runner.connect() as slow:
        slow.sendall(b"GET /?big=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for _ in range(20):
            assert runner.call().result == "small"
        assert read_all(slow).count(b"x") == 200 * 65536


def test_the_connection_of_a_stream_is_kept(serve: Serve) -> None:
    runner = serve("def go(): yield from ('a', 'b')")
    with runner.connect() as sock:
        sock.sendall(GET + GET)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).count(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n") == 2


# the body as it comes


@pytest.mark.parametrize("head", ["data: bytes", "body", "data: 'bytes'", "body: bytes = b''"])
@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "image/png", "text/plain"]
)
def test_the_only_parameter_may_be_the_body(serve: Serve, head: str, kind: str) -> None:
    name = head.partition(":")[0]
    runner = serve(f"def go({head}): return [type({name}).__name__, len({name})]")
    assert runner.call("/", b'{"a": \xff', Content_Type=kind).result == ["bytes", 7]


def test_beside_other_parameters_a_body_of_json_or_a_form_still_names_them(serve: Serve) -> None:
    runner = serve("def go(name: str, data: bytes = b''): return [name, len(data)]")
    assert runner.call("/?name=a", b"\xff\xff", Content_Type="image/png").result == ["a", 2]
    assert runner.call("/", {"name": "b"}).result == ["b", 0]


def test_a_plain_body_parameter_with_a_type_is_an_argument(serve: Serve) -> None:
    assert serve("def go(body: dict): return body").call("/", {"body": {"a": 1}}).result == {"a": 1}


def test_a_file_up_to_the_limit_arrives_whole(serve: Serve) -> None:
    runner = serve("def go(body): return body")
    data = bytes(range(256)) * 65536
    assert runner.call("/", data).body == data
    assert runner.call("/", data + b"x").error["code"] == "too_large"


# web pages of others


def call_from(runner: Runner, origin: str, method: str = "GET", **headers: str) -> Answer:
    return runner.call("/", method=method, Origin=origin, **headers)


def test_without_the_setting_there_are_no_cors_headers(serve: Serve) -> None:
    runner = serve("def go(): return 1")
    answer = call_from(runner, "https://a.example", "OPTIONS", Access_Control_Request_Method="PUT")
    assert answer.result == 1
    assert set(answer.headers) == {"Content-Type", "Content-Length"}


@pytest.mark.parametrize("setting", ["https://a.example,https://b.example", "*"])
def test_a_preflight_gets_its_response_without_a_call(serve: Serve, setting: str) -> None:
    runner = serve("def go(): print('called')", FOB_CORS=setting)
    answer = call_from(
        runner,
        "https://a.example",
        "OPTIONS",
        Access_Control_Request_Method="PUT",
        Access_Control_Request_Headers="X-A, X-B",
    )
    assert (answer.status, answer.body) == (204, b"")
    origin = "*" if setting == "*" else "https://a.example"
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Methods"] == "PUT"
    assert answer.headers["Access-Control-Allow-Headers"] == "X-A, X-B"
    assert runner.stdout == ""


@pytest.mark.parametrize("body", ["return 1", "1 / 0", "yield 'a'", "return 'a', 404, {}"])
def test_every_response_may_be_read_by_an_allowed_page(serve: Serve, body: str) -> None:
    runner = serve(f"def go():\n    {body}", FOB_CORS="https://a.example")
    allowed: Any = call_from(runner, "https://a.example").headers
    assert allowed["Access-Control-Allow-Origin"] == "https://a.example"
    assert allowed["Vary"] == "Origin"
    others = call_from(runner, "https://evil.example").headers
    assert "Access-Control-Allow-Origin" not in others
    assert others["Vary"] == "Origin"
