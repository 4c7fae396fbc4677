"""The event stream: frames split anywhere, a thread that delivers, reconnects and stops."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import certificates
import marathon_answers as says
import pytest
from raw_server import Exchange, serving

from fob.marathon import Marathon, client, event_stream
from fob.marathon.event_stream import (
    MAX_PAUSE,
    Frame,
    FrameParser,
    MarathonEvent,
    backoff,
)

pytestmark = pytest.mark.parametrize("way", ["direct", "remote"], indirect=True)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream;charset=UTF-8\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSED = HEAD + b"Connection: close\r\n\r\n"


def frame(name: str = "status_update_event", end: bytes = b"\r\n", **data: Any) -> bytes:
    return end.join([b"event: " + name.encode(), b"data: " + json.dumps(data).encode(), b"", b""])


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


# frames

STREAM = (
    b"\xef\xbb\xbf: a comment\n\n"
    b"event: one\ndata: {}\n\n"
    b"event: two\r\ndata:{\r\ndata: }\r\nid: 7\r\n\r\n"
    b"event: cr\rdata: x\r\r"
    b"data: nameless \xc3\xa4\n\n"
    b"event: nothing said\n\n"
    b"retry: 10\nodd\nid: \0\n\r\n\r\n"
    b"event: last\ndata: y\n\n"
    b"event: cut off\ndata: z"
)
FRAMES = [
    Frame("one", "{}"),
    Frame("two", "{\n}"),
    Frame("cr", "x"),
    Frame("message", "nameless ä"),
    Frame("last", "y"),
]


def fed(pieces: list[bytes]) -> tuple[list[Frame], str]:
    frames = FrameParser()
    found = [frame for piece in pieces for frame in frames.feed(piece)]
    return found, frames.last_id


@pytest.mark.parametrize("size", range(1, 12))
def test_frames_do_not_depend_on_how_the_bytes_are_split(size: int) -> None:
    pieces = [STREAM[i : i + size] for i in range(0, len(STREAM), size)]
    assert fed(pieces) == (FRAMES, "7")


def test_a_frame_may_be_split_anywhere() -> None:
    for at in range(1, len(STREAM)):
        assert fed([STREAM[:at], STREAM[at:]]) == (FRAMES, "7")


def test_a_long_line_in_many_chunks_is_parsed_in_linear_time() -> None:
    frames, began = FrameParser(), time.monotonic()
    for _ in range(200):
        assert not list(frames.feed(b"x" * 65536))
    assert time.monotonic() - began < 5


def test_an_overlong_line_ends_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MAX_RESPONSE_BYTES", 1000)
    frames = FrameParser()
    assert len(list(frames.feed(b"data: " + b"x" * 900 + b"\n\n" + b"y" * 900))) == 1
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        list(frames.feed(b"y" * 200))


def test_pauses_double_up_to_a_limit() -> None:
    first = event_stream.FIRST_PAUSE
    assert first / 2 <= backoff(0) <= first
    assert first * 2 <= backoff(2) <= first * 4
    assert MAX_PAUSE / 2 <= backoff(10_000) <= MAX_PAUSE


# the follower


class Recorder:
    """A listener that records its calls, and when they came."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[MarathonEvent] = []
        self.heard_at = 0.0
        self._news = asyncio.Event()

    def on_attached(self) -> None:
        self._note("attached")

    def on_lost(self) -> None:
        self._note("lost")

    def on_events(self, events: list[MarathonEvent]) -> None:
        self.heard_at = time.monotonic()
        self.events += events
        self._note("heard")

    def _note(self, what: str) -> None:
        self.calls.append(what)
        self._news.set()

    async def until(self, check: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not check():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def following(url: str, **settings: Any) -> Any:
    marathon = Marathon(url, **settings)
    recorder = Recorder()
    marathon.follow(recorder)
    try:
        yield recorder
    finally:
        await marathon.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "FIRST_PAUSE", 0.01)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(("head", "wrap"), [(CHUNKED, chunk), (UNTIL_CLOSED, bytes)])
def test_an_event_is_delivered_right_after_its_last_byte(
    head: bytes, wrap: Callable[[bytes], bytes], end: bytes
) -> None:
    sent_at: list[float] = []

    def dribble(exchange: Exchange) -> None:
        exchange.send(head)
        for byte in frame(end=end, n=1):
            sent_at[:] = [time.monotonic()]
            exchange.send(wrap(bytes([byte])))
        exchange.hang()

    async def listen(url: str) -> float:
        async with following(url) as recorder:
            await recorder.until(lambda: recorder.events)
            assert recorder.events == [MarathonEvent("status_update_event", {"n": 1})]
            return float(recorder.heard_at)

    with serving(dribble) as server:
        heard_at = asyncio.run(listen(server.url))
        assert heard_at - sent_at[0] < 0.1


def test_only_known_events_are_requested_and_delivered() -> None:
    def play(exchange: Exchange) -> None:
        exchange.send(
            UNTIL_CLOSED
            + frame("deployment_info", n=1)
            + b"event: status_update_event\ndata: {not json\n\n"
            + b"event: status_update_event\ndata: [1]\n\n"
            + b": heartbeat\n\n\r\n"
            + frame(n=2)
        )
        exchange.hang()

    async def listen(url: str) -> list[MarathonEvent]:
        async with following(url) as recorder:
            await recorder.until(lambda: recorder.events)
            return list(recorder.events)

    with serving(play) as server:
        assert asyncio.run(listen(server.url)) == [MarathonEvent("status_update_event", {"n": 2})]
        assert "event_type=status_update_event&event_type=" in server.paths()[0]
        assert server.seen[0].headers["accept"] == "text/event-stream"


def test_a_stream_that_ended_is_reopened_at_its_last_id() -> None:
    def play(exchange: Exchange) -> None:
        exchange.send(UNTIL_CLOSED + b"id: 41\n" + frame(n=1) + b"id: 42\n" + frame(n=2))
        exchange.sock.shutdown(2)

    async def listen(url: str) -> list[str]:
        async with following(url) as recorder:
            await recorder.until(lambda: recorder.calls.count("attached") == 3)
            return list(recorder.calls)

    with serving(play) as server:
        calls = asyncio.run(listen(server.url))
        assert [word for word in calls if word != "heard"][:4] == ["attached", "lost"] * 2
        ids = [seen.headers.get("last-event-id") for seen in server.seen]
        assert ids[:3] == [None, "42", "42"]


@pytest.mark.parametrize(
    "begun",
    [
        CHUNKED,
        UNTIL_CLOSED,
        CHUNKED + chunk(frame(n=1)[:-9]),
        CHUNKED + b"ff\r\n" + frame(n=1)[:-9],
        UNTIL_CLOSED + frame(n=1)[:-9],
    ],
)
def test_a_silent_stream_is_reopened(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.2)

    def play(exchange: Exchange) -> None:
        exchange.send(begun)
        exchange.hang()

    async def listen(url: str) -> None:
        async with following(url) as recorder:
            await recorder.until(lambda: recorder.calls == ["attached", "lost", "attached"])

    with serving(play) as server:
        asyncio.run(listen(server.url))


def test_heartbeats_keep_a_quiet_stream_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 0.5)

    def play(exchange: Exchange) -> None:
        exchange.send(CHUNKED)
        for _ in range(20):
            exchange.ended.wait(0.05)
            exchange.send(chunk(b"\r\n"))
        exchange.send(chunk(frame(n=1)))
        exchange.hang()

    async def listen(url: str) -> None:
        async with following(url) as recorder:
            await recorder.until(lambda: recorder.events)
            assert recorder.calls == ["attached", "heard"]

    with serving(play) as server:
        asyncio.run(listen(server.url))


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (401, {"Content_Type": "text/html"}, "401"),
        (405, {}, "405"),
        (200, {"Content_Type": "text/html"}, "instead of an event stream"),
        (502, {}, "502"),
        (302, {"Location": "/v2/events"}, "in a circle"),
    ],
)
def test_a_stream_that_fails_is_logged_once_and_retried(
    status: int, headers: dict[str, str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    def play(exchange: Exchange) -> None:
        refused = len(server.seen) <= 20
        if refused:
            exchange.answer(status, b"no", **headers)
        else:
            exchange.send(UNTIL_CLOSED)
            exchange.hang()

    async def listen(url: str) -> None:
        async with following(url) as recorder:
            await recorder.until(lambda: recorder.calls == ["attached"])

    with serving(play) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_stream, "MAX_PAUSE", 0.01)
        asyncio.run(listen(server.url))
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert said in warnings[0]


# a standby redirects to the leader


def leader(exchange: Exchange) -> None:
    exchange.send(UNTIL_CLOSED + frame(n=1))
    exchange.hang()


@pytest.mark.parametrize(("named", "sent"), [(True, "token=t"), (False, None)])
def test_credentials_follow_a_redirect_only_to_the_leader_our_marathon_names(
    named: bool, sent: str | None
) -> None:
    def standby(exchange: Exchange) -> None:
        if exchange.path == "/v2/leader":
            place = target.url.removeprefix("http://") if named else "10.0.0.1:8080"
            exchange.answer(200, json.dumps({"leader": place}).encode())
        else:
            exchange.answer(302, Location=f"{target.url}{exchange.path}")

    async def listen(url: str) -> None:
        async with following(url, token="t") as recorder:
            await recorder.until(lambda: recorder.events)

    with serving(leader) as target, serving(standby) as server:
        asyncio.run(listen(server.url))
        assert target.seen[0].headers.get("authorization") == sent


# the end


def before_headers(exchange: Exchange) -> None:
    exchange.hang()


def in_the_stream(exchange: Exchange) -> None:
    exchange.send(CHUNKED)
    exchange.hang()


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("play", [before_headers, in_the_stream])
def test_the_follower_stops_at_once_whatever_the_server_does(
    play: Callable[[Exchange], None], tls: bool, tmp_path: Path
) -> None:
    pki = certificates.make(tmp_path) if tls else None

    async def stop(server: Any) -> float:
        async with following(server.url, ca=str(pki.ca) if pki else "") as recorder:
            if play is in_the_stream:
                await recorder.until(lambda: recorder.calls == ["attached"])
            else:
                await asyncio.to_thread(server.asked.wait, 10)
            began = time.monotonic()
        return time.monotonic() - began

    asked = threading.Event()

    def played(exchange: Exchange) -> None:
        asked.set()
        play(exchange)

    with serving(played, pki.server_context() if pki else None) as server:
        server.asked = asked  # type: ignore[attr-defined]
        assert asyncio.run(stop(server)) < 1


def test_the_follower_stops_at_once_between_two_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "FIRST_PAUSE", 60.0)
    monkeypatch.setattr(event_stream, "MAX_PAUSE", 60.0)

    async def stop(url: str) -> float:
        async with following(url) as recorder:
            await recorder.until(lambda: recorder.calls == ["attached", "lost"])
            began = time.monotonic()
        return time.monotonic() - began

    def play(exchange: Exchange) -> None:
        exchange.send(UNTIL_CLOSED)
        exchange.sock.shutdown(2)

    with serving(play) as server:
        assert asyncio.run(stop(server.url)) < 1


def test_the_listener_is_not_called_after_the_stop() -> None:
    def flood(exchange: Exchange) -> None:
        exchange.send(CHUNKED)
        while not exchange.ended.is_set():
            exchange.send(chunk(frame(n=1)))

    async def listen(url: str) -> None:
        marathon = Marathon(url)
        recorder = Recorder()
        follower = marathon.follow(recorder)
        await recorder.until(lambda: recorder.events)
        await follower.stop()
        await asyncio.sleep(0)
        heard = len(recorder.calls)
        await marathon.close()
        await follower.stop()
        assert len(recorder.calls) == heard

    with serving(flood) as server:
        asyncio.run(listen(server.url))


def test_a_closed_loop_ends_the_thread() -> None:
    def play(exchange: Exchange) -> None:
        exchange.send(UNTIL_CLOSED)
        go_on.wait(10)
        exchange.send(frame(n=1))
        exchange.hang()

    go_on = threading.Event()

    async def leave(url: str) -> Marathon:
        marathon = Marathon(url)
        recorder = Recorder()
        marathon.follow(recorder)
        await recorder.until(lambda: recorder.calls == ["attached"])
        return marathon

    with serving(play) as server:
        marathon = asyncio.run(leave(server.url))
        go_on.set()
        (thread,) = [t for t in threading.enumerate() if t.name == "marathon-events"]
        thread.join(10)
        assert not thread.is_alive()
        asyncio.run(marathon.close())


def test_the_data_of_a_frame_is_parsed() -> None:
    update = says.status_update("TASK_RUNNING")
    (parsed,) = FrameParser().feed(frame(**update))
    assert json.loads(parsed.data) == update
