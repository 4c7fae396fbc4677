"""What calls and all other routes have in common, on one connection."""

import asyncio
import json
import re
import socket
import threading

import pytest
from raw_client import RawClient, RawResponse
from test_calls import echo, head_of, http_response, responds_with

import live
from fob.http import server

STATS = b'{"status": "fob up"}'


def paths(service) -> dict[str, str]:
    """One target that Tornado serves, and one that is a call."""
    return {"route": "/api/stats", "call": f"/api/call/{service.function(echo)}"}


@pytest.mark.parametrize("order", ["rc", "cr", "rcrccrrc"])
@pytest.mark.parametrize("pipelined", [False, True])
def test_calls_and_other_routes_take_turns_on_a_connection(service, order, pipelined):
    to = paths(service)
    sent = [
        (f"GET {to['route']}", ()) if turn == "r" else (f"POST {to['call']}/{n}", (f"N: {n}",))
        for n, turn in enumerate(order)
    ]
    with RawClient(service.port) as client:
        responses = []
        for line, headers in sent:
            client.ask(line, "Content-Length: 2", *headers, body="hi")
            if not pipelined:
                responses.append(client.response())
        responses += [client.response() for _ in sent[len(responses) :]]
    for n, (turn, got) in enumerate(zip(order, responses, strict=True)):
        assert got.status == 200
        if turn == "r":
            assert got.body == STATS
            assert got.headers["server"].startswith("TornadoServer/")
        else:
            echoed = json.loads(got.body)
            assert (echoed["line"], echoed["body"]) == (f"POST /{n} HTTP/1.1", "hi")


def test_many_pipelined_requests_are_answered_in_order(service):
    to = paths(service)["call"]
    with RawClient(service.port) as client:
        client.send(
            "".join(f"GET {to}/{n} HTTP/1.1\r\nHost: localhost\r\n\r\n" for n in range(300))
        )
        lines = [json.loads(client.response().body)["line"] for _ in range(300)]
    assert lines == [f"GET /{n} HTTP/1.1" for n in range(300)]


def test_the_published_response_keeps_its_bytes(service):
    with RawClient(service.port) as client:
        client.ask("GET /api/stats")
        got = client.response()
    assert list(got.headers) == ["server", "content-type", "date", "etag", "content-length"]
    assert got.headers["etag"] == '"8af23ae30ba92d44d1a5335a5fc59f73e28588cc"'
    assert got.headers["content-type"] == "application/json; charset=UTF-8"
    assert got.body == STATS


@pytest.mark.parametrize("kind", ["route", "call"])
@pytest.mark.parametrize("cut", [1, 7, 30])
def test_requests_may_arrive_in_any_pieces(service, kind, cut):
    data = (
        f"\r\nPOST {paths(service)[kind]} HTTP/1.1\r\nHost: localhost\r\n"
        "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"
    )
    with RawClient(service.port) as client:
        for at in range(0, len(data), cut):
            client.send(data[at : at + cut])
        got = client.response()
        assert got.status == (200 if kind == "call" else 405)
        client.ask("GET /api/stats")
        assert client.response().body == STATS
    if kind == "call":
        assert json.loads(got.body)["body"] == "abcde"


MALFORMED = [
    "GET {} HTTP/1.1\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "GET {} HTTP/2.0\r\nHost: localhost\r\n\r\n",
    "GET {} HTTP/1.1\nHost: localhost\n\n",
    "GET {} HTTP/1.1\r\nHost: localhost\nA: b\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: localhost\rA: b\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: localhost\r\nA: b\r\n folded\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "GET {} HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    "GET  {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nonsense\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\na",
    "POST {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST {} HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    "0\r\n\r\n",
    "POST {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "POST {} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\nab\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("data", MALFORMED)
@pytest.mark.parametrize("kind", ["route", "call"])
def test_malformed_requests_are_refused_and_the_connection_closed(service, data, kind):
    seen = []

    async def watched(reader, writer) -> None:
        seen.append(await reader.read(1))

    to = {"route": "/api/gen", "call": f"/api/call/{service.function(watched)}"}[kind]
    with RawClient(service.port) as client:
        # the bytes after it must never be taken for another request
        client.send(data.replace("{}", to) + "GET /api/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = client.response()
        assert (got.status, got.error) == (400, "bad_request")
        assert got.headers["connection"] == "close"
        assert client.rest() == b""
    assert seen == []


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_malformed_body_ends_its_request(service, kind):
    left = threading.Event()

    async def waits(reader, writer) -> None:
        await reader.read()
        left.set()

    to = {"route": "/api/gen", "call": f"/api/call/{service.function(waits)}"}[kind]
    with RawClient(service.port) as client:
        client.ask(f"POST {to}", "Transfer-Encoding: chunked", body="3\r\nabc\r\n")
        if kind == "call":
            live.until(lambda: service.routing.pool.calls, "the call")
        client.send("nonsense\r\n")
        got = client.response()
        assert (got.status, got.error) == (400, "bad_request")
    assert kind == "route" or left.wait(10)
    assert service.run(service.in_flight.stop(5)) == 0


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_head_that_is_too_large_is_431(service, kind):
    to = paths(service)[kind]
    many = [f"A{n}: b" for n in range(1000)]
    for headers in (["A: " + "x" * 70_000], ["A: " + "x" * 10_000_000], many):
        with RawClient(service.port) as client:
            client.ask(f"GET {to}", *headers)
            got = client.response()
            assert (got.status, got.error) == (431, "head_too_large")
    with RawClient(service.port) as client:
        client.ask(f"GET {to}", "A: " + "x" * 60_000)
        assert client.response().status == 200


def test_a_head_that_does_not_end_in_time_is_408(service, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with (
        RawClient(service.port) as idle,
        RawClient(service.port) as slow,
        RawClient(service.port) as later,
    ):
        later.ask("GET /api/stats")
        assert later.response().body == STATS
        later.send("GET /api")
        slow.send("GET /api/stats HTTP/1.1\r\nHo")
        for client in (slow, later):
            got = client.response()
            assert (got.status, got.error) == (408, "too_slow")
            assert client.rest() == b""
        # a client that has sent nothing yet has more time
        idle.ask("GET /api/stats")
        assert idle.response().body == STATS


def test_a_connection_that_is_idle_for_long_is_closed(service, monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    with RawClient(service.port) as fresh, RawClient(service.port) as used:
        used.ask("GET /api/stats")
        assert used.response().body == STATS
        assert fresh.rest() == used.rest() == b""


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_body_that_stalls_is_408(service, monkeypatch, kind):
    for module in ("http.server", "dispatcher.gateway.call", "http.tornado_bridge"):
        monkeypatch.setattr(f"fob.{module}.STALL_SECONDS", 0.2)
    with RawClient(service.port) as client:
        client.ask(f"POST {paths(service)[kind]}", "Content-Length: 9", body="half")
        got = client.response()
        assert (got.status, got.error) == (408, "too_slow")
    assert service.run(service.in_flight.stop(5)) == 0


def test_idle_connections_cost_no_task_each(service):
    before = service.on_loop(lambda: len(asyncio.all_tasks()))
    clients = [RawClient(service.port) for _ in range(300)]
    try:
        for client in clients:
            client.ask("GET /api/stats")
        assert {client.response().status for client in clients} == {200}
        assert service.on_loop(lambda: len(asyncio.all_tasks())) < before + 30
    finally:
        for client in clients:
            client.socket.close()


@pytest.mark.parametrize("kind", ["route", "call"])
def test_connection_close_is_honoured_and_announced(service, kind):
    with RawClient(service.port) as client:
        client.ask(f"GET {paths(service)[kind]}", "Connection: close")
        got = client.response()
        assert (got.status, got.headers["connection"]) == (200, "close")
        assert client.rest() == b""


@pytest.mark.parametrize("kind", ["route", "call"])
def test_http_1_0_closes_unless_keep_alive_is_requested(service, kind):
    to = paths(service)[kind]
    with RawClient(service.port) as client:
        client.send(f"GET {to} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        assert client.response().headers["connection"].lower() == "keep-alive"
        client.send(f"GET {to} HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert client.response().status == 200
        assert client.rest() == b""


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_refused_request_that_expects_100_closes_the_connection(service, kind):
    unknown = "/api/call/11111111-86e3-4966-9060-cf01eef59426"
    to = {"route": "/api/gen", "call": unknown}[kind]
    headers = ["Expect: 100-continue", "Content-Length: 10", "Origin: http://evil.example"]
    with RawClient(service.port) as client:
        client.ask(f"POST {to}", *headers)
        got = client.response()
        assert (got.status, got.headers["connection"]) == (403, "close")
        assert client.rest() == b""


def test_a_registration_that_expects_100_gets_it(service):
    body = "def f(): pass"
    with RawClient(service.port) as client:
        client.ask("POST /api/gen", "Expect: 100-continue", f"Content-Length: {len(body)}")
        assert client.response().status == 100
        client.send(body)
        assert client.response().status == 200


def test_a_file_that_is_much_too_large_is_413(service):
    with RawClient(service.port) as client:
        client.ask("POST /api/gen", f"Content-Length: {1 << 40}")
        got = client.response()
        assert (got.status, got.error) == (413, "too_large")
        assert client.rest() == b""


def test_an_early_response_arrives_before_the_rest_of_the_body_is_sent(service):
    with RawClient(service.port) as client:
        client.ask("POST /api/call/nobody", "Content-Length: 100000", body="x" * 1000)
        assert client.response().status == 404
        client.send("x" * 99_000)
        client.ask("GET /api/stats")
        assert client.response().body == STATS


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_stop_closes_connections_after_their_response(service, kind):
    with RawClient(service.port) as client:
        to = paths(service)[kind]
        service.run(service.in_flight.stop(5))
        client.ask(f"GET {to}")
        assert client.response().headers["connection"] == "close"
        assert client.rest() == b""


def test_a_response_without_a_length_is_chunked_and_keeps_the_connection(service):
    id_ = service.function(responds_with(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", close=True))
    with RawClient(service.port) as client:
        for _ in range(2):
            client.ask(f"GET /api/call/{id_}")
            got = client.response()
            assert got.headers["transfer-encoding"] == "chunked"
            assert got.body == b"until the end"


def test_a_response_to_head_has_no_body_on_any_route(service):
    to = paths(service)
    with RawClient(service.port) as client:
        for kind in ("route", "call", "call", "route"):
            client.ask(f"HEAD {to[kind]}")
            got = client.response(has_body=False)
            assert (got.status, int(got.headers["content-length"]) > 0) == (200, True)


def test_connect_is_405(service):
    with RawClient(service.port) as client:
        client.ask(f"CONNECT {paths(service)['call']}")
        assert client.response().status == 405


def test_a_call_is_one_line_in_the_log(make_service, caplog, capsys):
    caplog.set_level("INFO")
    service = make_service()
    id_ = service.function(responds_with(http_response(b"x")))
    logged = ""

    def line() -> str:
        nonlocal logged
        logged += capsys.readouterr().err
        return "".join(re.findall(r".*/api/call.*\n", logged))

    with RawClient(service.port) as client:
        client.ask(f"GET /api/call/{id_}/a?secret", "X-Request-Id: mine")
        client.response()
        live.until(line, "the line")
    assert re.search(rf" INFO GET /api/call/{id_}/a 200 [\d.]+ ms mine \[at line \d+\]\n", line())


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_client_that_half_closes_gets_all_responses(service, kind):
    to = paths(service)[kind]
    with RawClient(service.port) as client:
        client.send(f"GET {to} HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        client.socket.shutdown(socket.SHUT_WR)
        responses = [final(client) for _ in range(3)]
        assert client.rest() == b""
    assert [got.status for got in responses] == [200] * 3


@pytest.mark.parametrize("minor", [0, 1])
def test_a_client_that_half_closes_during_a_call_gets_its_response(service, minor):
    go = threading.Event()

    async def slowly(reader, writer) -> None:
        await head_of(reader)
        await asyncio.to_thread(go.wait, 10)
        writer.write(http_response(b"in the end"))

    id_ = service.function(slowly)
    with RawClient(service.port) as client:
        client.send(f"GET /api/call/{id_} HTTP/1.{minor}\r\nHost: localhost\r\n\r\n")
        live.until(lambda: service.routing.pool.calls, "the call")
        client.socket.shutdown(socket.SHUT_WR)
        go.set()
        assert final(client).body == b"in the end"
        assert client.rest() == b""


def test_an_incomplete_request_from_a_half_closed_client_ends_its_connection(service):
    for data in ("GET /api", "POST /api/gen HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"):
        with RawClient(service.port) as client:
            client.send(data)
            client.socket.shutdown(socket.SHUT_WR)
            assert client.rest() == b""


def final(client: RawClient) -> RawResponse:
    """The next response that is not an interim one."""
    while (got := client.response()).status == 100:
        pass
    return got
