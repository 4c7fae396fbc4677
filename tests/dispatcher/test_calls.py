import asyncio
import functools
import json
import socket
import threading

import pytest
import requests
from house import House, Serve

import live
from fob.dispatcher.gateway import pool, routing


async def head_of(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """The request line and the headers (names in lower case) of the next request."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    return lines[0], {
        k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)
    }


async def body_of(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int(await reader.readline(), 16) if "transfer-encoding" in headers else 0:
        body += await reader.readexactly(size)
        await reader.readline()
    if "transfer-encoding" in headers:
        await reader.readline()
    return body


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers every request with what it was."""
    while not reader.at_eof():
        try:
            line, headers = await head_of(reader)
        except asyncio.IncompleteReadError:
            return
        body = await body_of(reader, headers)
        told = {"line": line, "headers": headers, "body": body.decode("latin-1")}
        told["connection"] = id(writer)
        content = b"" if line.startswith("HEAD") else json.dumps(told).encode()
        head = answer(json.dumps(told).encode(), "Content-Type: application/json")
        writer.write(head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + content)


def says(data: bytes, close: bool = False) -> Serve:
    """Answers every request with these bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                _, headers = await head_of(reader)
                await body_of(reader, headers)
                writer.write(data)
                if close:
                    return
        except asyncio.IncompleteReadError:
            return

    return serve


def call(house: House, id_: str, method: str = "GET", rest: str = "", **options):
    return house.ask(method, f"/api/call/{id_}{rest}", **options)


def test_a_call_passes_method_path_query_and_body(house):
    id_ = house.function(echo)
    told = call(house, id_, "PUT", "/a%2Fb/c?x=1&y=%20", data=b"body").json()
    assert told["line"] == "PUT /a%2Fb/c?x=1&y=%20 HTTP/1.1"
    assert told["body"] == "body"
    assert call(house, id_).json()["line"] == "GET / HTTP/1.1"
    assert call(house, id_, rest="?x").json()["line"] == "GET /?x HTTP/1.1"


def test_a_call_says_where_it_comes_from(house):
    id_ = house.function(echo)
    answer = call(house, id_, headers={"X-Forwarded-For": "10.0.0.1", "X-Request-Id": "abc-1"})
    headers = answer.json()["headers"]
    assert headers["host"].startswith("127.0.0.1:")
    assert headers["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert headers["x-forwarded-host"] == f"127.0.0.1:{house.port}"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-request-id"] == answer.headers["X-Request-Id"] == "abc-1"
    assert len(call(house, id_).headers["X-Request-Id"]) == 32


def test_headers_between_neighbours_stay_between_them(house):
    id_ = house.function(echo)
    sent = {
        "Connection": "X-Mine",
        "X-Mine": "1",
        "TE": "trailers",
        "Keep-Alive": "3",
        "X-Other": "2",
    }
    headers = call(house, id_, headers=sent).json()["headers"]
    assert headers["x-other"] == "2"
    assert not {"x-mine", "te", "keep-alive", "connection"} & set(headers)
    hop = "Connection: X-Its", "X-Its: 1", "Keep-Alive: 3", "Set-Cookie: a=1", "Set-Cookie: b=2"
    received = call(house, house.function(says(answer(b"", *hop))))
    assert received.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]
    assert not {"X-Its", "Keep-Alive"} & set(received.headers)


def test_the_token_stays_in_the_dispatcher(make_house):
    house = make_house(token="s3cret")
    bearer = {"Authorization": "Bearer s3cret"}
    house._session.headers.update(bearer)
    assert "authorization" not in call(house, house.function(echo)).json()["headers"]


def test_without_a_token_the_callers_own_credentials_pass(house):
    headers = {"Authorization": "Bearer its own"}
    told = call(house, house.function(echo), headers=headers).json()
    assert told["headers"]["authorization"] == "Bearer its own"


def test_connections_are_kept_for_the_next_call(house):
    id_ = house.function(echo)
    assert len({call(house, id_).json()["connection"] for _ in range(5)}) == 1


@pytest.mark.parametrize("data", [b"x" * 3_000_000, [b"a", b"bc" * 50_000, b"d"]])
def test_bodies_pass_whole_in_both_directions(house, data):
    whole = data if isinstance(data, bytes) else b"".join(data)
    body = data if isinstance(data, bytes) else iter(data)
    told = call(house, house.function(echo), "POST", data=body).json()
    assert told["body"].encode("latin-1") == whole


def test_a_chunked_answer_passes(house):
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n3\r\n you\r\n"
    data = data.replace(b"3\r\n you", b"4\r\n you") + b"0\r\nTrailer: x\r\n\r\n"
    id_ = house.function(says(data))
    assert [call(house, id_).content for _ in range(2)] == [b"hello you"] * 2


def test_an_answer_that_ends_with_its_connection_passes(house):
    id_ = house.function(says(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", close=True))
    assert call(house, id_).content == b"until the end"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_an_answer_without_a_body_passes(house, status):
    id_ = house.function(says(f"HTTP/1.1 {status}\r\nX-A: 1\r\n\r\n".encode()))
    for _ in range(2):
        received = call(house, id_)
        assert received.status_code == int(status[:3])
        assert (received.content, received.headers["X-A"]) == (b"", "1")


def test_head_passes_with_the_length_and_without_the_body(house):
    id_ = house.function(echo)
    for _ in range(2):
        received = call(house, id_, "HEAD")
        assert int(received.headers["Content-Length"]) > 0
        assert received.content == b""


def test_interim_answers_are_passed_over(house):
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert call(house, house.function(says(interim + answer(b"real")))).content == b"real"


def test_a_client_that_waits_for_leave_to_send_gets_it(house):
    id_ = house.function(echo)
    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as sock:
        head = f"POST /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        sock.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"body")
        assert b'"body": "body"' in sock.recv(65536)


def test_an_answer_streams_as_it_is_made(house):
    more = threading.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\none\r\n")
        await asyncio.to_thread(more.wait, 10)
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    id_ = house.function(slowly)
    with requests.get(f"{house.url}/api/call/{id_}", stream=True, timeout=10) as received:
        pieces = received.iter_content(None)
        assert next(pieces) == b"one"
        more.set()
        assert next(pieces) == b"two"


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 999 What\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 50,
        b"\x00" * 70_000,
    ],
)
def test_an_answer_that_is_not_http_is_502(house, data):
    id_ = house.function(says(data))
    assert house.error("GET", f"/api/call/{id_}") == (502, "call_failed")
    assert house.ask("GET", "/api/stats").status_code == 200


def test_more_than_was_said_is_not_taken_for_the_next_answer(house):
    id_ = house.function(says(answer(b"own") + answer(b"smuggled")))
    assert [call(house, id_).content for _ in range(3)] == [b"own"] * 3


def test_a_function_that_dies_in_the_call_is_502_and_called_once(house):
    seen = []

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head_of(reader))

    id_ = house.function(dies)
    assert house.error("GET", f"/api/call/{id_}") == (502, "call_failed")
    assert house.error("POST", f"/api/call/{id_}", data=b"x" * 100_000) == (502, "call_failed")
    assert len(seen) == 2


def test_an_answer_cut_off_is_cut_off_for_the_client_too(house):
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
    with pytest.raises(requests.RequestException):
        call(house, house.function(says(data, close=True)))
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with pytest.raises(requests.RequestException):
        call(house, house.function(says(chunked, close=True)))


def test_a_kept_connection_that_was_closed_is_replaced(house):
    """The function answers one call for each connection, and says nothing of closing it."""
    connections = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(await head_of(reader))
        writer.write(answer(b"fine"))
        # closes when the next request arrives: it reached nobody
        await reader.read(1)

    id_ = house.function(once)
    assert [call(house, id_).content for _ in range(3)] == [b"fine"] * 3
    assert len(connections) == 3


def test_a_call_with_a_body_is_never_sent_twice(house):
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, headers = await head_of(reader)
        await body_of(reader, headers)
        writer.write(answer(b"fine"))
        await reader.read(1)

    id_ = house.function(once)
    assert call(house, id_, "POST", data=b"x").content == b"fine"
    assert house.error("POST", f"/api/call/{id_}", data=b"x") == (502, "call_failed")


def test_an_instance_that_refuses_connections_is_passed_over(house):
    id_ = house.function(echo)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        house.place(id_, unused.getsockname()[1], name="2")
        for _ in range(4):
            assert call(house, id_).status_code == 200


def test_a_function_that_cannot_be_reached_is_502(house):
    id_ = house.gen()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        house.place(id_, unused.getsockname()[1])
        assert house.error("GET", f"/api/call/{id_}") == (502, "call_failed")


def test_calls_go_where_the_fewest_are(house):
    going = threading.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await asyncio.to_thread(going.wait, 10)
        writer.write(answer(b"slow"))

    id_ = house.function(slowly)
    url = f"{house.url}/api/call/{id_}"
    slow = threading.Thread(target=requests.get, args=(url,), kwargs={"timeout": 10})
    slow.start()
    live.until(lambda: house.routing.pool.calls, "the call")
    house.place(id_, house.listen(says(answer(b"quick"))), name="2")
    tasks = functools.partial(house.tasks.of, f"/fob-aviary/{id_}")
    live.until(lambda: [t.ready for t in tasks()] == [True, True], "the second instance")
    assert [call(house, id_).content for _ in range(3)] == [b"quick"] * 3
    going.set()
    slow.join()
    live.until(lambda: not house.routing.pool.calls, "the end of all calls")


def test_a_call_waits_for_a_function_that_starts(house):
    id_ = house.gen()
    port = house.listen(echo)
    timer = threading.Timer(0.3, house.place, (id_, port))
    timer.start()
    assert call(house, id_).status_code == 200
    timer.join()


def test_a_function_that_does_not_start_is_503_in_the_end(house, monkeypatch):
    monkeypatch.setattr(routing, "READY_SECONDS", 0.2)
    assert house.error("POST", f"/api/call/{house.gen()}", data=b"x") == (503, "not_ready")


def test_a_suspended_function_is_503_at_once(house):
    answer = call(house, house.gen(query="?instances=0"))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "60"


def test_a_function_that_does_not_answer_is_504(house, monkeypatch):
    monkeypatch.setattr(routing, "GRACE_SECONDS", 0.1)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    id_ = house.function(never, query="?timeout=0.2")
    assert house.error("GET", f"/api/call/{id_}") == (504, "call_timeout")
    assert house.error("POST", f"/api/call/{id_}", data=b"x" * 9) == (504, "call_timeout")


def test_a_client_that_leaves_takes_its_call_along(house):
    left = threading.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await reader.read()
        left.set()

    id_ = house.function(waits)
    with socket.create_connection(("127.0.0.1", house.port)) as sock:
        sock.sendall(f"GET /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        live.until(lambda: house.routing.pool.calls, "the call")
    assert left.wait(10)
    assert house.run(house.in_flight.stop(5)) == 0


def test_a_client_that_leaves_in_its_body_takes_its_call_along(house):
    left = threading.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        left.set()

    id_ = house.function(waits)
    with socket.create_connection(("127.0.0.1", house.port)) as sock:
        head = f"POST /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        sock.sendall(head.encode() + b"half")
        live.until(lambda: house.routing.pool.calls, "the call")
    assert left.wait(10)


def test_a_refused_call_with_a_large_body_gets_its_answer(house):
    unknown = "11111111-86e3-4966-9060-cf01eef59426"
    answer = house.ask("POST", f"/api/call/{unknown}", data=b"x" * 5_000_000)
    assert answer.status_code == 404


def test_an_answer_before_the_end_of_the_body_passes(house):
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer(b"too much", "Connection: close", status="413 Too Large"))
        await writer.drain()
        await reader.readexactly(1000)

    received = call(house, house.function(hasty), "POST", data=b"x" * 5_000_000)
    assert (received.status_code, received.content) == (413, b"too much")


def test_web_sockets_are_refused_and_other_upgrades_ignored(house):
    id_ = house.function(echo)
    sent = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert house.error("GET", f"/api/call/{id_}", headers=sent) == (501, "upgrade_refused")
    told = call(house, id_, headers=sent | {"Upgrade": "h2c"}).json()
    assert "upgrade" not in told["headers"]


def test_a_client_of_http_1_0_is_served(house):
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    id_ = house.function(says(data))
    with socket.create_connection(("127.0.0.1", house.port), timeout=10) as sock:
        sock.sendall(f"GET /api/call/{id_} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        received = b""
        while piece := sock.recv(65536):
            received += piece
    assert received.endswith(b"\r\n\r\nhello")


def test_idle_connections_are_closed_after_a_while(house, monkeypatch):
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.05)
    ended = threading.Event()

    async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(answer(b"x"))
        await reader.read()
        ended.set()

    assert call(house, house.function(watched)).content == b"x"
    assert ended.wait(10)
