"""Logs and timelines of functions on a plain Marathon, from old, new, silent and lost agents."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import days
import pytest
import requests
from cluster import Cluster
from dispatching import Dispatcher
from raw_server import Exchange, RawServer, serving

import live
from fob.marathon import agents

PRINTS = "import sys\n\n\ndef f(text: str):\n    print(text, flush=True)\n    return len(text)\n"
CRASHES = "import os\nprint('up', flush=True)\n\n\ndef f():\n    os._exit(9)\n"

every_kind = pytest.mark.parametrize("version", ["0.15.3", "1.4.0", "1.5.8", "1.11.24"])


class Place:
    """An agent's address, port 5051 of `127.0.0.1`, with a real HTTP server."""

    def __init__(self, cluster: Cluster, server: RawServer) -> None:
        self.mesos = cluster.mesos
        self.server = server
        self.day: days.BadDay | None = None

    def play(self, exchange: Exchange) -> None:
        if self.day:
            self.day(exchange, lambda: None)
        else:
            self.mesos.play(exchange)


@pytest.fixture
def place(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """The agent on which everything runs."""
    with serving(lambda exchange: place.play(exchange)) as server:
        monkeypatch.setattr(agents, "AGENT_PORT", server.port)
        monkeypatch.setattr(agents, "RETRY_SECONDS", 0.05)
        monkeypatch.setattr(agents, "CONNECT_TIMEOUT", 0.5)
        monkeypatch.setattr(agents, "READ_TIMEOUT", 0.5)
        place = Place(cluster, server)
        yield place


@pytest.fixture
def dispatcher(place: Place, cluster: Cluster, dispatch: Callable[..., Dispatcher]) -> Dispatcher:
    """A dispatcher that connects to Marathon directly, with Basic auth and no admin router."""
    return dispatch(cluster.leader.url, marathon_user="ann", marathon_password="pw")


def printed(dispatcher: Dispatcher, *texts: str) -> str:
    """Register a function that has printed these texts; return its id."""
    id_ = dispatcher.gen(PRINTS.encode())
    for text in texts:
        dispatcher.answer("POST", f"/api/call/{id_}", json={"text": text})
    return id_


def log(dispatcher: Dispatcher, id_: str, query: str = "?stream=stdout") -> str:
    answer = dispatcher.ask("GET", f"/api/functions/{id_}/logs{query}")
    assert answer.status_code == 200, answer.text
    return answer.text


@every_kind
def test_a_log_is_read_from_the_agent_of_the_task(
    dispatcher: Dispatcher, cluster: Cluster, place: Place
) -> None:
    id_ = printed(dispatcher, "one", "two")
    assert log(dispatcher, id_) == "one\ntwo\n"
    assert log(dispatcher, id_, "?stream=stdout&tail=1") == "two\n"
    details = dispatcher.answer("GET", f"/api/functions/{id_}")
    assert "listening" in {mark["mark"] for mark in details["instances"][0]["timeline"]}
    assert {seen.headers.get("authorization") for seen in place.server.seen} == {None}
    states = [path for path in place.mesos.asked if path == "/state"]
    assert len(states) == (0 if cluster.era.since(1, 5) else 1)


@every_kind
def test_the_log_of_a_task_that_ended_is_read_from_its_agent(dispatcher: Dispatcher) -> None:
    id_ = dispatcher.gen(CRASHES.encode())
    assert dispatcher.error("GET", f"/api/call/{id_}")[1] == "call_failed"
    live.until(lambda: failed(dispatcher, id_), "the failure")
    assert log(dispatcher, id_) == "up\n"
    [failure] = dispatcher.answer("GET", f"/api/functions/{id_}")["failures"]
    assert "listening" in {mark["mark"] for mark in failure["timeline"]}


def failed(dispatcher: Dispatcher, id_: str) -> bool:
    return bool(dispatcher.answer("GET", f"/api/functions/{id_}")["state"] == "failed")


@pytest.mark.parametrize("version", ["1.4.0", "1.11.24"])
def test_a_log_read_in_many_chunks_keeps_every_character(dispatcher: Dispatcher) -> None:
    lines = ["€" * n for n in (30_001, 30_002, 30_003)]  # of three bytes each
    id_ = printed(dispatcher, *lines, '\x00\x7f\\"/\t\x1b[0m', "\U0001f426")
    assert log(dispatcher, id_).split("\n") == [*lines, '\x00\x7f\\"/\t\x1b[0m', "\U0001f426", ""]


def test_bytes_that_are_not_utf_8_do_not_hide_the_rest(dispatcher: Dispatcher) -> None:
    raw = b"import os\n\n\ndef f():\n    os.write(1, b'a\\xff\\xfeb\\xed\\xa0\\x80c\\n')\n"
    id_ = dispatcher.gen(raw)
    dispatcher.answer("GET", f"/api/call/{id_}")
    text = log(dispatcher, id_)
    assert (text[0], text[-2:], set(text[1:-2])) == ("a", "c\n", {"\ufffd", "b"})


@pytest.mark.parametrize("version", ["1.4.0", "1.11.24"])
def test_a_followed_log_goes_on(dispatcher: Dispatcher) -> None:
    id_ = printed(dispatcher, "one")
    with following(dispatcher, id_) as lines:
        assert next(lines) == "one"
        dispatcher.answer("POST", f"/api/call/{id_}", json={"text": "two é"})
        assert next(lines) == "two é"


@contextmanager
def following(dispatcher: Dispatcher, id_: str) -> Iterator[Iterator[str]]:
    url = f"{dispatcher.url}/api/functions/{id_}/logs?follow&stream=stdout"
    with requests.get(url, stream=True, timeout=30) as answer:
        yield (line.decode() for line in answer.iter_lines(chunk_size=1))


# failing agents: one clear error, and everything else works

BAD: dict[str, tuple[days.BadDay, str]] = {
    "silent": (days.hangs, "did not respond in time"),
    "reset": (
        days.resets,
        "sent no complete response (Connection reset by peer)",
    ),
    "broken": (days.says(500, "Failed to open file."), "failed: Marathon returned 500"),
    "another": (days.says(200, {"hello": 1}), "is not a Mesos agent"),
    "credentials": (
        days.says(401, "401 Unauthorized."),
        "requires credentials, and none are sent to it",
    ),
    "forbidden": (days.says(403, "Forbidden"), "requires credentials, and none are sent to it"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_failing_agent_is_named_and_hides_nothing_else(
    name: str, dispatcher: Dispatcher, place: Place
) -> None:
    id_ = printed(dispatcher, "one")
    place.day, words = BAD[name]
    status, code, message = dispatcher.error("GET", f"/api/functions/{id_}/logs")
    assert (status, code) == (502, "agent_failed")
    assert words in message
    assert f"127.0.0.1:{place.server.port}" in message or name == "another"
    details = dispatcher.answer("GET", f"/api/functions/{id_}")
    assert (details["state"], details["instances"][0]["timeline"]) == ("running", [])
    assert dispatcher.answer("POST", f"/api/call/{id_}", json={"text": "two"})["result"] == 3
    place.day = None
    read = live.until(lambda: dispatcher.ask("GET", f"/api/functions/{id_}/logs").ok, "its log")
    assert read


def test_an_unreachable_agent_is_named(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said() -> str:
        return dispatcher.error("GET", f"/api/functions/{id_}/logs")[2]

    id_ = printed(dispatcher, "one")
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        monkeypatch.setattr(agents, "AGENT_PORT", deaf.getsockname()[1])
        assert f"127.0.0.1:{agents.AGENT_PORT}, which has the files, cannot be reached" in said()
        assert "Connection refused" in said()
        deaf.listen(0)
        with crowded(deaf):
            live.until(lambda: "timed out" in said(), "the time-out")


@contextmanager
def crowded(listener: socket.socket) -> Iterator[None]:
    """Fill the listener's queue, so that further connections get no response."""
    knocking = [socket.socket() for _ in range(4)]
    for sock in knocking:
        sock.setblocking(False)
        sock.connect_ex(listener.getsockname())
    yield
    for sock in knocking:
        sock.close()


def test_one_agent_that_is_down_does_not_hide_the_logs_of_others(
    dispatcher: Dispatcher, cluster: Cluster
) -> None:
    id_ = printed(dispatcher, "one")
    [task] = cluster.tasks[f"/fob-aviary/{id_}"]
    moved = task | {"id": task["id"][:-1] + "_", "host": "127.0.0.2"}
    cluster.tasks[f"/fob-aviary/{id_}"].append(moved)
    text = log(dispatcher, id_)
    assert f"==> stdout of {task['id']} <==\none\n" in text
    assert (
        f"==> stdout of {moved['id']} <==\n(The agent at 127.0.0.2:{agents.AGENT_PORT}, which"
        in text
    )
    cluster.tasks[f"/fob-aviary/{id_}"].remove(moved)


def test_a_followed_log_continues_after_its_agent_restarts(
    dispatcher: Dispatcher, place: Place
) -> None:
    id_ = printed(dispatcher, "one")
    with following(dispatcher, id_) as lines:
        assert next(lines) == "one"
        place.day = days.resets
        assert "sent no complete response" in next(lines)
        place.day = None
        dispatcher.answer("POST", f"/api/call/{id_}", json={"text": "two"})
        assert next(lines) == "two"


def test_a_task_whose_agent_is_unknown_has_no_log(dispatcher: Dispatcher, cluster: Cluster) -> None:
    id_ = printed(dispatcher, "one")
    [task] = cluster.tasks[f"/fob-aviary/{id_}"]
    task["host"] = ""
    assert log(dispatcher, id_) == ""
    task["host"] = "127.0.0.1"


def test_the_framework_id_is_read_once_mesos_has_assigned_it(
    dispatcher: Dispatcher, cluster: Cluster
) -> None:
    cluster.bad("GET /v2/info", days.says(200, {"frameworkId": None, "version": "1.5.8"}), 1)
    for text in ("one", "two"):
        assert log(dispatcher, printed(dispatcher, text)) == f"{text}\n"
    assert cluster.asked.count("GET /v2/info") == 2


# through the admin router of DC/OS


@pytest.mark.parametrize("version", ["1.1.1", "1.3.0", "1.11.24"])
def test_requests_through_the_admin_router_carry_the_token(
    cluster: Cluster, dispatch: Callable[..., Dispatcher]
) -> None:
    cluster.mesos.authorization = cluster.authorization = "token=T"
    dispatcher = dispatch(marathon_token="T")
    id_ = printed(dispatcher, "one")
    assert log(dispatcher, id_) == "one\n"
    kind = "agent" if cluster.era.since(1, 3) else "slave"
    assert {path.partition("/S1/")[0] for path in cluster.mesos.asked} == {f"/{kind}"}


def test_an_error_of_the_admin_router_is_passed_on(
    cluster: Cluster, dispatcher_at_home: Dispatcher
) -> None:
    id_ = printed(dispatcher_at_home, "one")
    cluster.bad("GET /agent", days.says(401, "<html><title>401 Unauthorized</title></html>"), 9)
    refused = dispatcher_at_home.error("GET", f"/api/functions/{id_}/logs")
    assert refused[:2] == (502, "marathon_unauthorized")
    assert "FOB_MARATHON_TOKEN" in refused[2]


@pytest.fixture
def dispatcher_at_home(dispatch: Callable[..., Dispatcher]) -> Dispatcher:
    return dispatch()
