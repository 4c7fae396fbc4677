"""HTTP/1.1 of the runner, valid and invalid, byte by byte."""

import json
import random
import re
import resource
import shlex
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from running import PATIENCE, Command, Runner, Start, read_all, run_program

ECHO = "def handler(**fields): return fields"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def echo(serve: Start) -> Runner:
    return serve(ECHO)


def split(data: bytes) -> list[tuple[int, bytes, bytes]]:
    """(status, head, body) of every response in `data`."""
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        size = int(length[1]) if length else 0
        answers.append((int(head.split()[1]), head, data[:size]))
        data = data[size:]
    return answers


def results(data: bytes) -> list[object]:
    return [json.loads(body)["result"] for _, _, body in split(data)]


# good requests


def test_a_response_has_exactly_these_bytes(echo: Runner) -> None:
    assert echo.raw(b"GET /?a=1 HTTP/1.1\r\nHost: x\r\n\r\n") == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n"
        b'{"result": {"a": "1"}}'
    )


def test_a_connection_is_kept_for_the_next_call(echo: Runner) -> None:
    with echo.connect() as sock:
        for n in range(3):
            sock.sendall(b"GET /?n=%d HTTP/1.1\r\nHost: x\r\n\r\n" % n)
            assert results(sock.recv(65536)) == [{"n": str(n)}]


def test_pipelined_requests_get_responses_in_order(echo: Runner) -> None:
    requests = b"".join(b"GET /?n=%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(500))
    assert results(echo.raw(requests)) == [{"n": str(n)} for n in range(500)]


@pytest.mark.parametrize("head", ["Connection: close", "Connection: Keep-Alive, Close"])
def test_connection_close_is_obeyed(echo: Runner, head: str) -> None:
    with echo.connect() as sock:
        sock.sendall(GET + head.encode() + b"\r\n\r\n" + GET + b"\r\n")
        [(status, answer, _)] = split(read_all(sock))
    assert status == 200
    assert b"Connection: close" in answer


def test_http_1_0_is_closed_unless_it_asks_to_be_kept(echo: Runner) -> None:
    with echo.connect() as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in read_all(sock)
    with echo.connect() as sock:
        for _ in range(2):
            sock.sendall(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert b"\r\nConnection: keep-alive\r\n" in sock.recv(65536)


def test_head_gets_the_headers_and_no_body(echo: Runner) -> None:
    answer = echo.raw(b"HEAD /?a=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.endswith(b"Content-Length: 22\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "M-SEARCH"])
def test_any_method_and_path_call_the_function(echo: Runner, method: str) -> None:
    assert echo.call("/some/where?a=1#part", method=method).result == {"a": "1"}


def test_an_absolute_target_is_understood(echo: Runner) -> None:
    assert results(echo.raw(b"GET http://x/y?a=1 HTTP/1.1\r\nHost: x\r\n\r\n")) == [{"a": "1"}]


def test_a_target_in_raw_utf8_is_understood(echo: Runner) -> None:
    request = "GET /?a=Zoë HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert results(echo.raw(request)) == [{"a": "Zoë"}]


def test_empty_lines_before_a_request_are_skipped(echo: Runner) -> None:
    assert results(echo.raw(b"\r\n\r\n" + GET + b"\r\n\r\n" + GET + b"\r\n")) == [{}, {}]


def test_a_request_may_arrive_byte_by_byte(echo: Runner) -> None:
    with echo.connect() as sock:
        for byte in POST + b"Content-Length: 7\r\n\r\n" + b'{"a":1}':
            sock.sendall(bytes([byte]))
        assert results(sock.recv(65536)) == [{"a": 1}]


@pytest.mark.parametrize(
    "chunks",
    [
        b'7\r\n{"a":1}\r\n0\r\n\r\n',
        b'3\r\n{"a\r\n4;ext=1\r\n":1}\r\n000\r\n\r\n',
        b'3 \r\n{"a\r\n4;x="y"\r\n":1}\r\n0\r\nTrailer: x\r\nMore: y\r\n\r\n',
    ],
)
def test_a_chunked_body_is_put_together(echo: Runner, chunks: bytes) -> None:
    request = POST + b"Transfer-Encoding: Chunked\r\n\r\n" + chunks
    assert results(echo.raw(request + request)) == [{"a": 1}, {"a": 1}]
    with echo.connect() as sock:
        for byte in request:
            sock.sendall(bytes([byte]))
        assert results(sock.recv(65536)) == [{"a": 1}]


def test_expect_100_continue_gets_its_response_before_the_body(echo: Runner) -> None:
    with echo.connect() as sock:
        sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 7\r\n\r\n")
        assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b'{"a":1}')
        assert results(sock.recv(65536)) == [{"a": 1}]


def test_no_100_continue_when_the_body_is_there_or_too_large(echo: Runner) -> None:
    expect = POST + b"Expect: 100-continue\r\n"
    assert results(echo.raw(expect + b'Content-Length: 7\r\n\r\n{"a":1}')) == [{"a": 1}]
    assert split(echo.raw(expect + b"Content-Length: 99999999\r\n\r\n"))[0][0] == 413


def test_the_same_head_may_have_another_body_each_time(echo: Runner) -> None:
    with echo.connect() as sock:
        for n in range(3):
            sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 7\r\n\r\n")
            assert sock.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b'{"a":%d}' % n)
            assert results(sock.recv(65536)) == [{"a": n}]
    post = POST + b"Content-Length: 7\r\n\r\n"
    assert results(echo.raw(post + b'{"a":3}' + post + b'{"a":4}')) == [{"a": 3}, {"a": 4}]


def test_a_body_that_looks_like_a_request_seen_before_is_a_body(serve: Start) -> None:
    runner = serve("def f(body=b''): return body.decode()")
    request = GET + b"\r\n"
    assert results(runner.raw(request)) == [""]
    with runner.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(request))
        runner.raw(request)  # it has been read when this is answered
        sock.sendall(request)
        assert json.loads(split(sock.recv(65536))[0][2]) == {"result": request.decode()}


def test_a_known_request_may_arrive_in_halves_and_concurrently(echo: Runner) -> None:
    request = GET + b"X-Same: 1\r\n\r\n"
    assert results(echo.raw(request + request)) == [{}, {}]
    with echo.connect() as sock, echo.connect() as other:
        sock.sendall(request[:-1])
        other.sendall(request)
        assert results(other.recv(65536)) == [{}]
        sock.sendall(request[-1:] + request)
        sock.shutdown(socket.SHUT_WR)
        assert results(read_all(sock)) == [{}, {}]


def test_many_different_heads_are_all_understood(echo: Runner) -> None:
    heads = [
        b"GET /?n=%d HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (n, b"x" * n * 40) for n in range(100)
    ]
    assert results(echo.raw(b"".join(heads * 2))) == [{"n": str(n)} for n in range(100)] * 2


def test_heads_that_differ_only_in_the_last_line_keep_their_own_ids(serve: Start) -> None:
    runner = serve("def lambda_handler(event, context): return {'id': context.aws_request_id}")
    begin = GET + b"X-Same: 1\r\n"
    ids = [b"0f-%d" % n for n in range(3)]
    lines = [b"X-Request-Id: %b\r\n" % id_ for id_ in ids]
    told = runner.raw(b"".join(begin + line + b"\r\n" for line in lines * 2))
    assert re.findall(rb'"id": "([^"]*)"', told) == ids * 2
    # one more, or what is no id, is a header like any other
    told = runner.raw(begin + lines[0] + lines[1] + b"\r\n")
    assert b'"id": "0f-0, 0f-1"' in told
    assert runner.raw(begin + b"X-Request-Id: a\0b\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert b'"0f-' not in runner.raw(begin + b"\r\n")


def test_a_large_body_and_a_large_response_arrive_whole(echo: Runner) -> None:
    text = "x" * (15 << 20)
    assert echo.call("/", {"a": text}).result == {"a": text}


def test_curl_can_call_it(echo: Runner) -> None:
    url = f"http://127.0.0.1:{echo.port}/"
    out = subprocess.check_output(["curl", "-s", url, "-d", '{"a": [1]}', url + "?b=2"])
    assert out == b'{"result": {"a": [1]}}{"result": {"b": "2", "a": [1]}}'
    chunked = ["curl", "-s", "-H", "Transfer-Encoding: chunked", "-d", '{"a": 2}', url]
    assert subprocess.check_output(chunked) == b'{"result": {"a": 2}}'


# bad requests


BAD = [
    (400, b"GET /\r\n\r\n"),
    (400, b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET / x HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET / HTTQ/1.1\r\nHost: x\r\n\r\n"),
    (400, b"G(T / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b" / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /\x7f HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /\t HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"),
    (505, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (505, b"GET / HTTP/1.10\r\nHost: x\r\n\r\n"),
    (505, b"GET / HTTP/0.9\r\nHost: x\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    (400, b"GET / HTTP/1.1\nHost: x\n\n"),
    (400, GET + b"A: b\nC: d\r\n\r\n"),
    (400, GET + b"A: b\rC: d\r\n\r\n"),
    (400, GET + b"A: b\x00\r\n\r\n"),
    (400, GET + b"No colon\r\n\r\n"),
    (400, GET + b": no name\r\n\r\n"),
    (400, GET + b"Bad Name: x\r\n\r\n"),
    (400, GET + b"Name : x\r\n\r\n"),
    (400, GET + b"N\xc3\xa4me: x\r\n\r\n"),
    (400, GET + b"Name[]: x\r\n\r\n"),
    (400, GET + b"A: b\r\n folded\r\n\r\n"),
    (400, GET + b"A: b\r\n\tfolded: x\r\n\r\n"),
    (400, POST + b"Content-Length: -1\r\n\r\n"),
    (400, POST + b"Content-Length: +1\r\n\r\n1"),
    (400, POST + b"Content-Length: 1_0\r\n\r\n"),
    (400, POST + b"Content-Length: 0x1\r\n\r\n1"),
    (400, POST + b"Content-Length: 1, 1\r\n\r\n1"),
    (400, POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n1"),
    (400, POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1"),
    (400, POST + b"Content-Length: \r\n\r\n"),
    (400, POST + b"Content-Length: \xb2\r\n\r\n"),
    (400, POST + "Content-Length: \u0663\r\n\r\n".encode()),
    (413, POST + b"Content-Length: 16777217\r\n\r\n"),
    (413, POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n"),
    (400, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (501, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (501, POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    (417, POST + b"Expect: miracles\r\nContent-Length: 7\r\n\r\n"),
    (431, GET + b"A: " + b"x" * 70000 + b"\r\n\r\n"),
    (431, b"GET /" + b"x" * 70000),
    (400, b"\x16\x03\x01\x02\x00\x01\x00"),
    (400, b"\x00" * 100),
    (400, b"}" * 100),
]
BAD_CHUNKS = [
    (400, b"\r\n\r\n"),
    (400, b"x\r\n"),
    (400, b"-1\r\n"),
    (400, b"0x1\r\na\r\n0\r\n\r\n"),
    (400, b"1_0\r\n"),
    (400, b" 1\r\na\r\n0\r\n\r\n"),
    (400, b"1\na\r\n0\r\n\r\n"),
    (400, b"1;a\nb\r\na\r\n0\r\n\r\n"),
    (400, b"1\r\nab\r\n0\r\n\r\n"),
    (400, b"1\r\naXX0\r\n\r\n"),
    (400, b"1" * 2000),
    (400, b";" * 2000 + b"\r\n"),
    (413, b"f" * 20 + b"\r\n"),
    (413, b"1000001\r\n"),
    (413, b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\n1000000\r\n"),
    (431, b"0\r\nA: " + b"x" * 70000),
]
BAD += [(s, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks) for s, chunks in BAD_CHUNKS]


def test_a_bad_request_is_rejected_and_its_connection_closed(echo: Runner) -> None:
    for status, request in BAD:
        answers = split(echo.raw(request + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert [answer[0] for answer in answers] == [status], request[:100]
        assert b"Connection: close" in answers[0][1]
        assert set(json.loads(answers[0][2])["error"]) == {"code", "message", "details"}
    assert echo.call("/?a=1").result == {"a": "1"}


def test_a_rejected_body_does_not_destroy_the_response(echo: Runner) -> None:
    """Closing a socket with unread bytes resets the connection, and destroys the response."""
    with echo.connect() as sock:
        sock.sendall(POST + b"Content-Length: 16777217\r\n\r\n")
        for _ in range(64):
            sock.sendall(b"x" * 65536)
        sock.shutdown(socket.SHUT_WR)
        assert split(read_all(sock))[0][0] == 413


def test_a_sender_that_never_ends_is_cut_off(echo: Runner) -> None:
    with echo.connect() as sock:
        sock.sendall(POST + b"Content-Length: 16777217\r\n\r\n")
        with pytest.raises(ConnectionError):
            sock.sendall(b"x" * (100 << 20))


def test_garbage_never_stops_the_server(echo: Runner) -> None:
    """Requests with bytes changed, dropped or doubled get a response or a close, each time."""
    chance = random.Random(20160402)
    seeds = [request for _, request in BAD if len(request) < 1000]
    for _ in range(400):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 5)):
            at = chance.randrange(len(data))
            piece = bytes(chance.choices(b"\r\n :;\x00\xffA1,/?%", k=chance.randint(0, 3)))
            data[at : at + chance.randint(0, 2)] = piece
            data = data or bytearray(b"x")
        for status, _, _ in split(echo.raw(bytes(data))):
            assert status in (100, 200, 400, 413, 417, 431, 501, 505), bytes(data)
    assert echo.process.poll() is None
    assert echo.call("/?a=1").result == {"a": "1"}
    assert "Traceback" not in echo.stderr


# bad clients


def test_clients_that_disconnect_leave_nothing_behind(echo: Runner) -> None:
    reset = struct.pack("ii", 1, 0)
    for data in (b"", b"GET / HT", POST + b"Content-Length: 9\r\n\r\n1", GET + b"\r\n"):
        for _ in range(20):
            with echo.connect() as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
                sock.sendall(data)
    assert echo.call().result == {}
    assert "Traceback" not in echo.stderr


def test_slow_senders_do_not_keep_others_waiting(serve: Start) -> None:
    runner = serve(ECHO, FOB_CONCURRENCY="1")
    slow = [runner.connect() for _ in range(50)]
    try:
        for sock in slow:
            sock.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert runner.call().result == {}
        for sock in slow:
            sock.sendall(b" x\r\n\r\n")
        assert [results(sock.recv(65536)) for sock in slow] == [[{}]] * 50
    finally:
        for sock in slow:
            sock.close()


def test_a_client_that_does_not_read_does_not_delay_others(serve: Start) -> None:
    runner = serve("def f(n: int = 1): return 'x' * n", FOB_CONCURRENCY="1")
    with runner.connect() as sock:
        sock.sendall(b"GET /?n=15000000 HTTP/1.1\r\nHost: x\r\n\r\n" + GET + b"\r\n")
        assert runner.call().result == "x"
        sock.shutdown(socket.SHUT_WR)
        large, small = split(read_all(sock))
    assert len(large[2]) == 15000000 + len('{"result": ""}')
    assert small[2] == b'{"result": "x"}'


def test_a_client_that_never_reads_is_disconnected(serve: Start, patched: Command) -> None:
    runner = serve("def f(n: int = 1): return 'x' * n", command=patched(SEND_GRACE=0.5))
    files = Path(f"/proc/{runner.process.pid}/fd")
    before = len(list(files.iterdir()))
    with runner.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /?n=15000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(10) == b"HTTP/1.1 2"
        deadline = time.monotonic() + PATIENCE
        while len(list(files.iterdir())) > before:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert runner.call().result == "x"


def test_many_idle_connections_make_room_for_new_ones(serve: Start) -> None:
    runner = serve(ECHO)
    resource.prlimit(runner.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    idle = [runner.connect() for _ in range(100)]
    try:
        assert runner.call("/?a=1").result == {"a": "1"}
        assert read_all(idle[0]) == b""
        idle[-1].sendall(GET + b"\r\n")
        assert results(idle[-1].recv(65536)) == [{}]
    finally:
        for sock in idle:
            sock.close()
    assert "Traceback" not in runner.stderr


def test_connections_leave_descriptors_for_the_snippet(serve: Start, tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", f"ulimit -n 64; exec {shlex.join(run_program(tmp_path))}"]
    runner = serve("import os\ndef f(): return len([os.pipe() for _ in range(4)])", command)
    idle = [runner.connect() for _ in range(100)]
    try:
        assert runner.call().result == 4
        assert read_all(idle[0]) == b""
    finally:
        for sock in idle:
            sock.close()


def test_a_snippet_that_takes_every_descriptor_does_not_make_the_server_spin(serve: Start) -> None:
    snippet = (
        "import os, time\nfds = []\n"
        "def handler(take: bool = False, cpu: bool = False):\n"
        "    try:\n        while take: fds.append(os.dup(2))\n    except OSError: pass\n"
        "    if cpu: return time.process_time()\n"
        "    if not take:\n        while fds: os.close(fds.pop())\n"
    )
    runner = serve(snippet)
    resource.prlimit(runner.process.pid, resource.RLIMIT_NOFILE, (60, 60))
    with runner.connect() as sock:
        sock.sendall(b"GET /?take=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert results(sock.recv(65536)) == [None]
        with runner.connect() as waiting:
            waiting.sendall(b"GET /?cpu=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            data = waiting.recv(65536)  # room was made for it by closing the idle one
            assert results(data)[0] < 2.0
