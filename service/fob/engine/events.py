"""Marathon's event stream: what happened, numbered, with the recent past kept for replay."""

import asyncio
import functools
import itertools
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fob.engine.chunks import to_json
from fob.timeline import utc_now

KEPT = 2000  # events a reader that lost its connection can still ask for
BACKLOG = 2000  # events a slow reader may be behind before it is disconnected
# Whoever is told is woken, at the cost of what happens meanwhile; and what happens next is what
# they wait for. So of a start that goes on, and of what nobody waits for, they hear with that.
LULL_SECONDS = 0.01
UNDER_WAY = ("TASK_STAGING", "TASK_STARTING")
NEWS = {
    "status_update_event",
    "instance_health_changed_event",
    "health_status_changed_event",
    "unhealthy_task_kill_event",
    "app_terminated_event",
    "deployment_success",
    "deployment_failed",
    "event_stream_attached",
}


@dataclass(frozen=True)
class Event:
    id: int
    type: str
    data: dict[str, Any]

    @property
    def can_wait(self) -> bool:
        """Whether readers may hear of it a moment later, with what comes next."""
        return self.type not in NEWS or self.data.get("taskStatus") in UNDER_WAY

    @functools.cached_property
    def frame(self) -> bytes:
        """As it goes over the wire (server-sent events, W3C); most never do."""
        return self._framed(self.data)

    @functools.cached_property
    def light(self) -> bytes:
        """The same without the groups before and after, where it tells of a plan."""
        if "plan" not in self.data:
            return self.frame
        plan = {k: v for k, v in self.data["plan"].items() if k not in ("original", "target")}
        return self._framed(self.data | {"plan": plan})

    def _framed(self, data: dict[str, Any]) -> bytes:
        text = to_json(data)
        return f"id: {self.id}\r\nevent: {self.type}\r\ndata: {text}\r\n\r\n".encode()


class EventSubscription:
    """One reader's events on their way, until `None`, which says: too slow, goodbye."""

    def __init__(self, types: frozenset[str]) -> None:
        self._types = types
        self._waiting: list[Event | None] = []
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, event: Event) -> None:
        if self._types and event.type not in self._types:
            return
        if len(self._waiting) >= BACKLOG:
            self.end()
            return
        self._waiting.append(event)
        if not event.can_wait:
            self._due.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LULL_SECONDS, self._due.set)

    def end(self) -> None:
        self._waiting.append(None)
        self._due.set()

    async def some(self) -> list[Event | None]:
        """Wait for events; all there are, in order."""
        await self._due.wait()
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        some, self._waiting = self._waiting, []
        return some


class Events:
    """Everyone who publishes has one of these; every reader has a `Stream` of it. Events have the
    ids from `first` on."""

    def __init__(self, first: int = 1) -> None:
        self._ids = itertools.count(first)
        self._recent: deque[Event] = deque(maxlen=KEPT)
        self._streams: set[EventSubscription] = set()

    def publish(self, type_: str, **payload: Any) -> None:
        """Tell those who listen; `payload` is not to be changed afterwards."""
        data = {"eventType": type_, "timestamp": utc_now(), **payload}
        event = Event(next(self._ids), type_, data)
        self._recent.append(event)
        for stream in self._streams:
            stream.offer(event)

    def attach(self, types: Iterable[str] = (), after: int | None = None) -> EventSubscription:
        """A stream of all events from now on, and before that of those kept since id `after`."""
        stream = EventSubscription(frozenset(types))
        if after is not None:
            for event in self._recent:
                if event.id > after:
                    stream.offer(event)
        self._streams.add(stream)
        return stream

    def detach(self, stream: EventSubscription) -> None:
        self._streams.discard(stream)

    def close(self) -> None:
        """End every stream."""
        for stream in self._streams:
            stream.end()
