import asyncio
import json

from fob.engine.events import BACKLOG, Event, Events


async def take(stream: object, number: int) -> list[Event | None]:
    return [await asyncio.wait_for(stream.next(), 5) for _ in range(number)]  # type: ignore[attr-defined]


def test_a_reader_gets_what_is_published_in_order() -> None:
    async def run() -> None:
        events = Events()
        stream = events.attach()
        events.publish("a", x=1)
        events.publish("b")
        first, second = await take(stream, 2)
        assert first is not None
        assert second is not None
        assert (first.type, second.type) == ("a", "b")
        id_line, event_line, data_line = first.frame.decode().strip().split("\r\n")
        assert (id_line, event_line) == ("id: 1", "event: a")
        data = json.loads(data_line.removeprefix("data: "))
        assert (data["eventType"], data["x"]) == ("a", 1)

    asyncio.run(run())


def test_a_reader_may_want_some_types_only() -> None:
    async def run() -> None:
        events = Events()
        stream = events.attach(["b"])
        events.publish("a")
        events.publish("b")
        assert [e.type for e in await take(stream, 1) if e] == ["b"]

    asyncio.run(run())


def test_a_reader_that_comes_back_gets_what_it_missed() -> None:
    async def run() -> None:
        events = Events()
        for name in "abc":
            events.publish(name)
        stream = events.attach(after=1)
        events.publish("d")
        assert [e.type for e in await take(stream, 3) if e] == ["b", "c", "d"]

    asyncio.run(run())


def test_a_reader_that_is_too_slow_is_sent_away() -> None:
    async def run() -> None:
        events = Events()
        stream = events.attach()
        for _ in range(BACKLOG + 1):
            events.publish("a")
        got = await take(stream, BACKLOG + 1)
        assert got[-1] is None

    asyncio.run(run())


def test_what_waits_can_be_had_at_once() -> None:
    async def run() -> None:
        events = Events()
        stream = events.attach()
        events.publish("a")
        events.publish("b")
        assert [e.type for e in stream.waiting() if e] == ["a", "b"]
        assert stream.waiting() == []

    asyncio.run(run())


def test_a_detached_reader_gets_nothing_more() -> None:
    async def run() -> None:
        events = Events()
        stream = events.attach()
        events.detach(stream)
        events.publish("a")
        stream.end()
        assert await take(stream, 1) == [None]

    asyncio.run(run())
