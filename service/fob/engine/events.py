"""Marathon's event stream: numbered events, the most recent of them kept for replay."""

import asyncio
import functools
import itertools
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fob.engine.chunks import to_json
from fob.timeline import utc_now

MAX_RECENT = 2000  # events that a reader can get again after it lost its connection
MAX_BACKLOG = 2000  # events that a reader may be behind before it is disconnected

# Sending an event wakes its readers, which then compete for the CPU with a task that is starting
# or with the response to the request that caused the event. So only events that readers wait for
# are sent at once. All others, and the two states on the way to TASK_RUNNING, are sent with the
# next urgent event, or after this delay.
DELAY_SECONDS = 0.01
STATES_OF_A_START = ("TASK_STAGING", "TASK_STARTING")
URGENT = {
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
        """Whether it may be sent with the next event instead of at once."""
        return self.type not in URGENT or self.data.get("taskStatus") in STATES_OF_A_START

    @functools.cached_property
    def frame(self) -> bytes:
        """The event as sent to readers (server-sent events, W3C); made on first use, because most
        events have no reader."""
        return self._framed(self.data)

    @functools.cached_property
    def light(self) -> bytes:
        """`frame` without the groups before and after, if the event has a plan."""
        if "plan" not in self.data:
            return self.frame
        plan = {k: v for k, v in self.data["plan"].items() if k not in ("original", "target")}
        return self._framed(self.data | {"plan": plan})

    def _framed(self, data: dict[str, Any]) -> bytes:
        text = to_json(data)
        return f"id: {self.id}\r\nevent: {self.type}\r\ndata: {text}\r\n\r\n".encode()


class EventSubscription:
    """The events that one reader has not taken yet. `None` after them is the end of the stream: the
    reader was too slow, or the engine stops."""

    def __init__(self, types: frozenset[str]) -> None:
        self._types = types
        self._backlog: list[Event | None] = []
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def offer(self, event: Event) -> None:
        """Append the event if the reader asked for its type."""
        if self._types and event.type not in self._types:
            return
        if len(self._backlog) >= MAX_BACKLOG:
            self.end()
            return
        self._backlog.append(event)
        if not event.can_wait:
            self._due.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._due.set)

    def end(self) -> None:
        self._backlog.append(None)
        self._due.set()

    async def take(self) -> list[Event | None]:
        """Wait until events are due; return the whole backlog, in order."""
        await self._due.wait()
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        taken, self._backlog = self._backlog, []
        return taken


class Events:
    """Publishes events to all subscriptions. Event ids count up from `first`."""

    def __init__(self, first: int = 1) -> None:
        self._ids = itertools.count(first)
        self.published: Counter[str] = Counter()  # by type
        self._recent: deque[Event] = deque(maxlen=MAX_RECENT)
        self._subscriptions: set[EventSubscription] = set()

    def publish(self, type_: str, **payload: Any) -> None:
        """Publish an event; callers must not change `payload` afterwards."""
        data = {"eventType": type_, "timestamp": utc_now(), **payload}
        event = Event(next(self._ids), type_, data)
        self._recent.append(event)
        self.published[type_] += 1
        for subscription in self._subscriptions:
            subscription.offer(event)

    def attach(self, types: Iterable[str] = (), after: int | None = None) -> EventSubscription:
        """Subscribe to all events from now on, or to those of `types`; first come the recent ones
        with an id above `after`, if that is given."""
        subscription = EventSubscription(frozenset(types))
        if after is not None:
            for event in self._recent:
                if event.id > after:
                    subscription.offer(event)
        self._subscriptions.add(subscription)
        return subscription

    def detach(self, subscription: EventSubscription) -> None:
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions:
            subscription.end()
