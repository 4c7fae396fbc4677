"""Marathon's event stream: what happened, numbered, with the recent past kept for replay."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fob.timeline import utc_now

KEPT = 2000  # events a reader that lost its connection can still ask for
BACKLOG = 2000  # events a slow reader may be behind before it is disconnected


@dataclass(frozen=True)
class Event:
    id: int
    type: str
    frame: bytes  # as it goes over the wire (server-sent events, W3C)


class Stream:
    """One reader's queue of events; iterate until `None`, which says: too slow, goodbye."""

    def __init__(self, types: frozenset[str]) -> None:
        self._types = types
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()

    def offer(self, event: Event) -> None:
        if self._types and event.type not in self._types:
            return
        if self._queue.qsize() >= BACKLOG:
            self.end()
        else:
            self._queue.put_nowait(event)

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def next(self) -> Event | None:
        return await self._queue.get()


class Events:
    """Everyone who publishes has one of these; every reader has a `Stream` of it."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._recent: deque[Event] = deque(maxlen=KEPT)
        self._streams: set[Stream] = set()

    def publish(self, type_: str, **payload: Any) -> None:
        id_ = next(self._ids)
        data = json.dumps({"eventType": type_, "timestamp": utc_now(), **payload})
        event = Event(id_, type_, f"id: {id_}\r\nevent: {type_}\r\ndata: {data}\r\n\r\n".encode())
        self._recent.append(event)
        for stream in self._streams:
            stream.offer(event)

    def attach(self, types: Iterable[str] = (), after: int | None = None) -> Stream:
        """A stream of all events from now on, and before that of those kept since id `after`."""
        stream = Stream(frozenset(types))
        if after is not None:
            for event in self._recent:
                if event.id > after:
                    stream.offer(event)
        self._streams.add(stream)
        return stream

    def detach(self, stream: Stream) -> None:
        self._streams.discard(stream)

    def close(self) -> None:
        """End every stream."""
        for stream in self._streams:
            stream.end()
