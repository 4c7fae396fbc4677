import asyncio
import functools
import json
import socket
import threading

import pytest
import requests
from local_service import LocalService, Serve

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


def http_response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond to every request with a description of it."""
    while not reader.at_eof():
        try:
            line, headers = await head_of(reader)
        except asyncio.IncompleteReadError:
            return
        body = await body_of(reader, headers)
        echoed = {"line": line, "headers": headers, "body": body.decode("latin-1")}
        echoed["connection"] = id(writer)
        content = b"" if line.startswith("HEAD") else json.dumps(echoed).encode()
        head = http_response(json.dumps(echoed).encode(), "Content-Type: application/json")
        writer.write(head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + content)


def responds_with(data: bytes, close: bool = False) -> Serve:
    """Serve every request with these bytes."""

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


def call(service: LocalService, id_: str, method: str = "GET", rest: str = "", **options):
    return service.ask(method, f"/api/call/{id_}{rest}", **options)


def test_a_call_forwards_method_path_query_and_body(service):
    id_ = service.function(echo)
    echoed = call(service, id_, "PUT", "/a%2Fb/c?x=1&y=%20", data=b"body").json()
    assert echoed["line"] == "PUT /a%2Fb/c?x=1&y=%20 HTTP/1.1"
    assert echoed["body"] == "body"
    assert call(service, id_).json()["line"] == "GET / HTTP/1.1"
    assert call(service, id_, rest="?x").json()["line"] == "GET /?x HTTP/1.1"


def test_a_call_names_its_client_in_headers(service):
    id_ = service.function(echo)
    response = call(service, id_, headers={"X-Forwarded-For": "10.0.0.1", "X-Request-Id": "abc-1"})
    headers = response.json()["headers"]
    assert headers["host"].startswith("127.0.0.1:")
    assert headers["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert headers["x-forwarded-host"] == f"127.0.0.1:{service.port}"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-request-id"] == response.headers["X-Request-Id"] == "abc-1"
    assert len(call(service, id_).headers["X-Request-Id"]) == 32


def test_hop_by_hop_headers_are_not_forwarded(service):
    id_ = service.function(echo)
    sent = {
        "Connection": "X-Mine",
        "X-Mine": "1",
        "TE": "trailers",
        "Keep-Alive": "3",
        "X-Other": "2",
    }
    headers = call(service, id_, headers=sent).json()["headers"]
    assert headers["x-other"] == "2"
    assert not {"x-mine", "te", "keep-alive", "connection"} & set(headers)
    hop = "Connection: X-Its", "X-Its: 1", "Keep-Alive: 3", "Set-Cookie: a=1", "Set-Cookie: b=2"
    received = call(service, service.function(responds_with(http_response(b"", *hop))))
    assert received.raw.headers.getlist("Set-Cookie") == ["a=1", "b=2"]
    assert not {"X-Its", "Keep-Alive"} & set(received.headers)


def test_the_dispatchers_token_is_not_forwarded(make_service):
    service = make_service(token="s3cret")
    bearer = {"Authorization": "Bearer s3cret"}
    service._session.headers.update(bearer)
    assert "authorization" not in call(service, service.function(echo)).json()["headers"]


def test_without_a_token_the_clients_own_credentials_are_forwarded(service):
    headers = {"Authorization": "Bearer its own"}
    echoed = call(service, service.function(echo), headers=headers).json()
    assert echoed["headers"]["authorization"] == "Bearer its own"


def test_connections_are_reused_by_the_next_call(service):
    id_ = service.function(echo)
    assert len({call(service, id_).json()["connection"] for _ in range(5)}) == 1


@pytest.mark.parametrize("data", [b"x" * 3_000_000, [b"a", b"bc" * 50_000, b"d"]])
def test_bodies_are_forwarded_completely_in_both_directions(service, data):
    whole = data if isinstance(data, bytes) else b"".join(data)
    body = data if isinstance(data, bytes) else iter(data)
    echoed = call(service, service.function(echo), "POST", data=body).json()
    assert echoed["body"].encode("latin-1") == whole


def test_a_chunked_response_is_forwarded(service):
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n3\r\n you\r\n"
    data = data.replace(b"3\r\n you", b"4\r\n you") + b"0\r\nTrailer: x\r\n\r\n"
    id_ = service.function(responds_with(data))
    assert [call(service, id_).content for _ in range(2)] == [b"hello you"] * 2


def test_a_response_that_ends_with_its_connection_is_forwarded(service):
    id_ = service.function(responds_with(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", close=True))
    assert call(service, id_).content == b"until the end"


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_a_response_without_a_body_is_forwarded(service, status):
    id_ = service.function(responds_with(f"HTTP/1.1 {status}\r\nX-A: 1\r\n\r\n".encode()))
    for _ in range(2):
        received = call(service, id_)
        assert received.status_code == int(status[:3])
        assert (received.content, received.headers["X-A"]) == (b"", "1")


def test_a_response_to_head_has_the_length_and_no_body(service):
    id_ = service.function(echo)
    for _ in range(2):
        received = call(service, id_, "HEAD")
        assert int(received.headers["Content-Length"]) > 0
        assert received.content == b""


def test_interim_responses_are_skipped(service):
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert (
        call(service, service.function(responds_with(interim + http_response(b"real")))).content
        == b"real"
    )


def test_a_client_that_expects_100_gets_it(service):
    id_ = service.function(echo)
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock:
        head = f"POST /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        sock.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"body")
        assert b'"body": "body"' in sock.recv(65536)


def test_a_response_streams_as_it_is_written(service):
    more = threading.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"3\r\none\r\n")
        await asyncio.to_thread(more.wait, 10)
        writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

    id_ = service.function(slowly)
    with requests.get(f"{service.url}/api/call/{id_}", stream=True, timeout=10) as received:
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
def test_a_response_that_is_not_http_is_502(service, data):
    id_ = service.function(responds_with(data))
    assert service.error("GET", f"/api/call/{id_}") == (502, "call_failed")
    assert service.ask("GET", "/api/stats").status_code == 200


def test_excess_bytes_are_not_taken_for_the_next_response(service):
    id_ = service.function(responds_with(http_response(b"own") + http_response(b"smuggled")))
    assert [call(service, id_).content for _ in range(3)] == [b"own"] * 3


def test_a_function_that_dies_during_a_call_is_502_and_called_once(service):
    seen = []

    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head_of(reader))

    id_ = service.function(dies)
    assert service.error("GET", f"/api/call/{id_}") == (502, "call_failed")
    assert service.error("POST", f"/api/call/{id_}", data=b"x" * 100_000) == (502, "call_failed")
    assert len(seen) == 2


def test_an_incomplete_response_is_incomplete_for_the_client_too(service):
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"
    with pytest.raises(requests.RequestException):
        call(service, service.function(responds_with(data, close=True)))
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    with pytest.raises(requests.RequestException):
        call(service, service.function(responds_with(chunked, close=True)))


def test_an_idle_connection_that_was_closed_is_replaced(service):
    """The function serves one call per connection, and closes it without announcing that."""
    connections = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(await head_of(reader))
        writer.write(http_response(b"fine"))
        # closes when the next request arrives, without reading it
        await reader.read(1)

    id_ = service.function(once)
    assert [call(service, id_).content for _ in range(3)] == [b"fine"] * 3
    assert len(connections) == 3


def test_a_call_with_a_body_is_never_sent_twice(service):
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, headers = await head_of(reader)
        await body_of(reader, headers)
        writer.write(http_response(b"fine"))
        await reader.read(1)

    id_ = service.function(once)
    assert call(service, id_, "POST", data=b"x").content == b"fine"
    assert service.error("POST", f"/api/call/{id_}", data=b"x") == (502, "call_failed")


def test_an_instance_that_refuses_connections_is_avoided(service):
    id_ = service.function(echo)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        service.place(id_, unused.getsockname()[1], name="2")
        for _ in range(4):
            assert call(service, id_).status_code == 200


def test_a_function_that_cannot_be_reached_is_502(service):
    id_ = service.gen()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        service.place(id_, unused.getsockname()[1])
        assert service.error("GET", f"/api/call/{id_}") == (502, "call_failed")


def test_calls_go_to_the_instance_with_the_fewest_in_flight(service):
    going = threading.Event()

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await asyncio.to_thread(going.wait, 10)
        writer.write(http_response(b"slow"))

    id_ = service.function(slowly)
    url = f"{service.url}/api/call/{id_}"
    slow = threading.Thread(target=requests.get, args=(url,), kwargs={"timeout": 10})
    slow.start()
    live.until(lambda: service.routing.pool.calls, "the call")
    service.place(id_, service.listen(responds_with(http_response(b"quick"))), name="2")
    tasks = functools.partial(service.tasks.of, f"/fob-aviary/{id_}")
    live.until(lambda: [t.ready for t in tasks()] == [True, True], "the second instance")
    assert [call(service, id_).content for _ in range(3)] == [b"quick"] * 3
    going.set()
    slow.join()
    live.until(lambda: not service.routing.pool.calls, "the end of all calls")


def test_a_call_waits_for_a_function_that_starts(service):
    id_ = service.gen()
    port = service.listen(echo)
    timer = threading.Timer(0.3, service.place, (id_, port))
    timer.start()
    assert call(service, id_).status_code == 200
    timer.join()


def test_a_function_that_does_not_start_is_503_in_the_end(service, monkeypatch):
    monkeypatch.setattr(routing, "READY_SECONDS", 0.2)
    assert service.error("POST", f"/api/call/{service.gen()}", data=b"x") == (503, "not_ready")


def test_a_suspended_function_is_503_at_once(service):
    response = call(service, service.gen(query="?instances=0"))
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "60"


def test_a_function_that_does_not_respond_is_504(service, monkeypatch):
    monkeypatch.setattr(routing, "GRACE_SECONDS", 0.1)

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    id_ = service.function(never, query="?timeout=0.2")
    assert service.error("GET", f"/api/call/{id_}") == (504, "call_timeout")
    assert service.error("POST", f"/api/call/{id_}", data=b"x" * 9) == (504, "call_timeout")


def test_a_client_that_disconnects_ends_its_call(service):
    left = threading.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        await reader.read()
        left.set()

    id_ = service.function(waits)
    with socket.create_connection(("127.0.0.1", service.port)) as sock:
        sock.sendall(f"GET /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        live.until(lambda: service.routing.pool.calls, "the call")
    assert left.wait(10)
    assert service.run(service.in_flight.stop(5)) == 0


def test_a_client_that_disconnects_while_sending_ends_its_call(service):
    left = threading.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        left.set()

    id_ = service.function(waits)
    with socket.create_connection(("127.0.0.1", service.port)) as sock:
        head = f"POST /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        sock.sendall(head.encode() + b"half")
        live.until(lambda: service.routing.pool.calls, "the call")
    assert left.wait(10)


def test_a_refused_call_with_a_large_body_gets_its_response(service):
    unknown = "11111111-86e3-4966-9060-cf01eef59426"
    response = service.ask("POST", f"/api/call/{unknown}", data=b"x" * 5_000_000)
    assert response.status_code == 404


def test_an_early_response_is_forwarded(service):
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(http_response(b"too much", "Connection: close", status="413 Too Large"))
        await writer.drain()
        await reader.readexactly(1000)

    received = call(service, service.function(hasty), "POST", data=b"x" * 5_000_000)
    assert (received.status_code, received.content) == (413, b"too much")


def test_websockets_are_refused_and_other_upgrades_ignored(service):
    id_ = service.function(echo)
    sent = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert service.error("GET", f"/api/call/{id_}", headers=sent) == (501, "upgrade_refused")
    echoed = call(service, id_, headers=sent | {"Upgrade": "h2c"}).json()
    assert "upgrade" not in echoed["headers"]


def test_an_http_1_0_client_is_served(service):
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    id_ = service.function(responds_with(data))
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as sock:
        sock.sendall(f"GET /api/call/{id_} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        received = b""
        while piece := sock.recv(65536):
            received += piece
    assert received.endswith(b"\r\n\r\nhello")


def test_idle_connections_are_closed_after_a_while(service, monkeypatch):
    monkeypatch.setattr(pool, "IDLE_SECONDS", 0.05)
    ended = threading.Event()

    async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(http_response(b"x"))
        await reader.read()
        ended.set()

    assert call(service, service.function(watched)).content == b"x"
    assert ended.wait(10)
