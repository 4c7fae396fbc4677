"""What every client gets, whatever it asks for: calls and all other routes on one connection."""

import asyncio
import json
import re
import socket
import threading

import pytest
from test_calls import answer, echo, head_of, says
from wire import Answer, Wire

import live
from fob.http import server

STATS = b'{"status": "fob up"}'


def paths(house) -> dict[str, str]:
    """One target that Tornado serves, and one that is a call."""
    return {"route": "/api/stats", "call": f"/api/call/{house.function(echo)}"}


@pytest.mark.parametrize("order", ["rc", "cr", "rcrccrrc"])
@pytest.mark.parametrize("pipelined", [False, True])
def test_calls_and_other_routes_take_turns_on_a_connection(house, order, pipelined):
    to = paths(house)
    sent = [
        (f"GET {to['route']}", ()) if turn == "r" else (f"POST {to['call']}/{n}", (f"N: {n}",))
        for n, turn in enumerate(order)
    ]
    with Wire(house.port) as wire:
        answers = []
        for line, headers in sent:
            wire.ask(line, "Content-Length: 2", *headers, body="hi")
            if not pipelined:
                answers.append(wire.answer())
        answers += [wire.answer() for _ in sent[len(answers) :]]
    for n, (turn, got) in enumerate(zip(order, answers, strict=True)):
        assert got.status == 200
        if turn == "r":
            assert got.body == STATS
            assert got.headers["server"].startswith("TornadoServer/")
        else:
            told = json.loads(got.body)
            assert (told["line"], told["body"]) == (f"POST /{n} HTTP/1.1", "hi")


def test_many_pipelined_requests_are_answered_in_order(house):
    to = paths(house)["call"]
    with Wire(house.port) as wire:
        wire.send("".join(f"GET {to}/{n} HTTP/1.1\r\nHost: localhost\r\n\r\n" for n in range(300)))
        lines = [json.loads(wire.answer().body)["line"] for _ in range(300)]
    assert lines == [f"GET /{n} HTTP/1.1" for n in range(300)]


def test_the_published_answer_keeps_its_bytes(house):
    with Wire(house.port) as wire:
        wire.ask("GET /api/stats")
        got = wire.answer()
    assert list(got.headers) == ["server", "content-type", "date", "etag", "content-length"]
    assert got.headers["etag"] == '"8af23ae30ba92d44d1a5335a5fc59f73e28588cc"'
    assert got.headers["content-type"] == "application/json; charset=UTF-8"
    assert got.body == STATS


@pytest.mark.parametrize("kind", ["route", "call"])
@pytest.mark.parametrize("cut", [1, 7, 30])
def test_requests_may_come_in_any_pieces(house, kind, cut):
    data = (
        f"\r\nPOST {paths(house)[kind]} HTTP/1.1\r\nHost: localhost\r\n"
        "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nA: b\r\n\r\n"
    )
    with Wire(house.port) as wire:
        for at in range(0, len(data), cut):
            wire.send(data[at : at + cut])
        got = wire.answer()
        assert got.status == (200 if kind == "call" else 405)
        wire.ask("GET /api/stats")
        assert wire.answer().body == STATS
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
def test_what_is_not_clearly_http_is_refused_and_the_connection_closed(house, data, kind):
    seen = []

    async def watched(reader, writer) -> None:
        seen.append(await reader.read(1))

    to = {"route": "/api/gen", "call": f"/api/call/{house.function(watched)}"}[kind]
    with Wire(house.port) as wire:
        # what follows is never taken for a request of its own
        wire.send(data.replace("{}", to) + "GET /api/stats HTTP/1.1\r\nHost: localhost\r\n\r\n")
        got = wire.answer()
        assert (got.status, got.error) == (400, "bad_request")
        assert got.headers["connection"] == "close"
        assert wire.rest() == b""
    assert seen == []


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_body_that_turns_out_malformed_ends_its_request(house, kind):
    left = threading.Event()

    async def waits(reader, writer) -> None:
        await reader.read()
        left.set()

    to = {"route": "/api/gen", "call": f"/api/call/{house.function(waits)}"}[kind]
    with Wire(house.port) as wire:
        wire.ask(f"POST {to}", "Transfer-Encoding: chunked", body="3\r\nabc\r\n")
        if kind == "call":
            live.until(lambda: house.routing.pool.calls, "the call")
        wire.send("nonsense\r\n")
        got = wire.answer()
        assert (got.status, got.error) == (400, "bad_request")
    assert kind == "route" or left.wait(10)
    assert house.run(house.in_flight.stop(5)) == 0


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_head_that_is_too_large_is_431(house, kind):
    to = paths(house)[kind]
    many = [f"A{n}: b" for n in range(1000)]
    for headers in (["A: " + "x" * 70_000], ["A: " + "x" * 10_000_000], many):
        with Wire(house.port) as wire:
            wire.ask(f"GET {to}", *headers)
            got = wire.answer()
            assert (got.status, got.error) == (431, "head_too_large")
    with Wire(house.port) as wire:
        wire.ask(f"GET {to}", "A: " + "x" * 60_000)
        assert wire.answer().status == 200


def test_a_head_that_does_not_end_in_time_is_408(house, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    with Wire(house.port) as idle, Wire(house.port) as slow, Wire(house.port) as later:
        later.ask("GET /api/stats")
        assert later.answer().body == STATS
        later.send("GET /api")
        slow.send("GET /api/stats HTTP/1.1\r\nHo")
        for wire in (slow, later):
            got = wire.answer()
            assert (got.status, got.error) == (408, "too_slow")
            assert wire.rest() == b""
        # who has not begun has no hurry
        idle.ask("GET /api/stats")
        assert idle.answer().body == STATS


def test_a_connection_that_lies_idle_for_long_is_closed(house, monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    with Wire(house.port) as fresh, Wire(house.port) as used:
        used.ask("GET /api/stats")
        assert used.answer().body == STATS
        assert fresh.rest() == used.rest() == b""


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_body_that_stalls_is_408(house, monkeypatch, kind):
    for module in ("http.server", "dispatcher.gateway.call", "http.tornado_bridge"):
        monkeypatch.setattr(f"fob.{module}.STALL_SECONDS", 0.2)
    with Wire(house.port) as wire:
        wire.ask(f"POST {paths(house)[kind]}", "Content-Length: 9", body="half")
        got = wire.answer()
        assert (got.status, got.error) == (408, "too_slow")
    assert house.run(house.in_flight.stop(5)) == 0


def test_idle_connections_cost_no_task_each(house):
    before = house.on_loop(lambda: len(asyncio.all_tasks()))
    wires = [Wire(house.port) for _ in range(300)]
    try:
        for wire in wires:
            wire.ask("GET /api/stats")
        assert {wire.answer().status for wire in wires} == {200}
        assert house.on_loop(lambda: len(asyncio.all_tasks())) < before + 30
    finally:
        for wire in wires:
            wire.socket.close()


@pytest.mark.parametrize("kind", ["route", "call"])
def test_connection_close_is_obeyed_and_said(house, kind):
    with Wire(house.port) as wire:
        wire.ask(f"GET {paths(house)[kind]}", "Connection: close")
        got = wire.answer()
        assert (got.status, got.headers["connection"]) == (200, "close")
        assert wire.rest() == b""


@pytest.mark.parametrize("kind", ["route", "call"])
def test_http_1_0_closes_unless_asked_to_keep(house, kind):
    to = paths(house)[kind]
    with Wire(house.port) as wire:
        wire.send(f"GET {to} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n")
        assert wire.answer().headers["connection"].lower() == "keep-alive"
        wire.send(f"GET {to} HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert wire.answer().status == 200
        assert wire.rest() == b""


@pytest.mark.parametrize("kind", ["route", "call"])
def test_who_waits_for_leave_and_is_refused_is_not_waited_for(house, kind):
    unknown = "/api/call/11111111-86e3-4966-9060-cf01eef59426"
    to = {"route": "/api/gen", "call": unknown}[kind]
    headers = ["Expect: 100-continue", "Content-Length: 10", "Origin: http://evil.example"]
    with Wire(house.port) as wire:
        wire.ask(f"POST {to}", *headers)
        got = wire.answer()
        assert (got.status, got.headers["connection"]) == (403, "close")
        assert wire.rest() == b""


def test_who_waits_for_leave_to_register_gets_it(house):
    body = "def f(): pass"
    with Wire(house.port) as wire:
        wire.ask("POST /api/gen", "Expect: 100-continue", f"Content-Length: {len(body)}")
        assert wire.answer().status == 100
        wire.send(body)
        assert wire.answer().status == 200


def test_a_file_that_is_much_too_large_is_told_so(house):
    with Wire(house.port) as wire:
        wire.ask("POST /api/gen", f"Content-Length: {1 << 40}")
        got = wire.answer()
        assert (got.status, got.error) == (413, "too_large")
        assert wire.rest() == b""


def test_the_answer_comes_before_the_rest_of_a_body_that_nobody_wants(house):
    with Wire(house.port) as wire:
        wire.ask("POST /api/call/nobody", "Content-Length: 100000", body="x" * 1000)
        assert wire.answer().status == 404
        wire.send("x" * 99_000)
        wire.ask("GET /api/stats")
        assert wire.answer().body == STATS


@pytest.mark.parametrize("kind", ["route", "call"])
def test_a_stop_closes_connections_after_their_answer(house, kind):
    with Wire(house.port) as wire:
        to = paths(house)[kind]
        house.run(house.in_flight.stop(5))
        wire.ask(f"GET {to}")
        assert wire.answer().headers["connection"] == "close"
        assert wire.rest() == b""


def test_an_answer_without_length_passes_as_chunks_and_keeps_the_connection(house):
    id_ = house.function(says(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", close=True))
    with Wire(house.port) as wire:
        for _ in range(2):
            wire.ask(f"GET /api/call/{id_}")
            got = wire.answer()
            assert got.headers["transfer-encoding"] == "chunked"
            assert got.body == b"until the end"


def test_head_is_answered_without_a_body_on_every_route(house):
    to = paths(house)
    with Wire(house.port) as wire:
        for kind in ("route", "call", "call", "route"):
            wire.ask(f"HEAD {to[kind]}")
            got = wire.answer(has_body=False)
            assert (got.status, int(got.headers["content-length"]) > 0) == (200, True)


def test_connect_is_no_call(house):
    with Wire(house.port) as wire:
        wire.ask(f"CONNECT {paths(house)['call']}")
        assert wire.answer().status == 405


def test_a_call_is_one_line_in_the_log(make_house, caplog, capsys):
    caplog.set_level("INFO")
    house = make_house()
    id_ = house.function(says(answer(b"x")))
    logged = ""

    def line() -> str:
        nonlocal logged
        logged += capsys.readouterr().err
        return "".join(re.findall(r".*/api/call.*\n", logged))

    with Wire(house.port) as wire:
        wire.ask(f"GET /api/call/{id_}/a?secret", "X-Request-Id: mine")
        wire.answer()
        live.until(line, "the line")
    assert re.search(rf" INFO GET /api/call/{id_}/a 200 [\d.]+ ms mine \[at line \d+\]\n", line())


@pytest.mark.parametrize("kind", ["route", "call"])
def test_who_ends_its_side_after_its_requests_gets_the_answers(house, kind):
    to = paths(house)[kind]
    with Wire(house.port) as wire:
        wire.send(f"GET {to} HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        wire.socket.shutdown(socket.SHUT_WR)
        answers = [final(wire) for _ in range(3)]
        assert wire.rest() == b""
    assert [got.status for got in answers] == [200] * 3


@pytest.mark.parametrize("minor", [0, 1])
def test_who_ends_its_side_while_the_function_works_is_waited_for(house, minor):
    go = threading.Event()

    async def slowly(reader, writer) -> None:
        await head_of(reader)
        await asyncio.to_thread(go.wait, 10)
        writer.write(answer(b"in the end"))

    id_ = house.function(slowly)
    with Wire(house.port) as wire:
        wire.send(f"GET /api/call/{id_} HTTP/1.{minor}\r\nHost: localhost\r\n\r\n")
        live.until(lambda: house.routing.pool.calls, "the call")
        wire.socket.shutdown(socket.SHUT_WR)
        go.set()
        assert final(wire).body == b"in the end"
        assert wire.rest() == b""


def test_a_request_that_will_never_be_whole_ends_its_connection(house):
    for data in ("GET /api", "POST /api/gen HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"):
        with Wire(house.port) as wire:
            wire.send(data)
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.rest() == b""


def final(wire: Wire) -> Answer:
    """The next answer that is more than an interim one."""
    while (got := wire.answer()).status == 100:
        pass
    return got
