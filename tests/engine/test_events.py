import asyncio
import json

from fob.engine.events import (
    MAX_BACKLOG,
    Event,
    Events,
    EventSubscription,
)


async def take(stream: EventSubscription, number: int) -> list[Event | None]:
    taken: list[Event | None] = []
    while len(taken) < number:
        taken += await asyncio.wait_for(stream.take(), 5)
    return taken


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


def test_a_reader_can_ask_for_some_types_only() -> None:
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


def test_a_reader_that_is_too_slow_is_disconnected() -> None:
    async def run() -> None:
        events = Events()
        stream = events.attach()
        for _ in range(MAX_BACKLOG + 1):
            events.publish("a")
        got = await take(stream, MAX_BACKLOG + 1)
        assert got[-1] is None

    asyncio.run(run())


def test_the_events_of_a_start_are_sent_with_the_next_urgent_event() -> None:
    async def run() -> None:
        events = Events()
        stream = events.attach()
        events.publish("group_change_success")
        events.publish("status_update_event", taskStatus="TASK_STAGING")
        taken = asyncio.create_task(stream.take())
        await asyncio.sleep(0)
        assert not taken.done()
        events.publish("status_update_event", taskStatus="TASK_RUNNING")
        states = [e.data.get("taskStatus") for e in await taken if e]
        assert states == [None, "TASK_STAGING", "TASK_RUNNING"]

    asyncio.run(run())


def test_the_events_of_a_start_are_sent_when_no_other_event_follows() -> None:
    async def run() -> None:
        events = Events()
        stream = events.attach()
        events.publish("status_update_event", taskStatus="TASK_STAGING")
        assert len(await take(stream, 1)) == 1

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
