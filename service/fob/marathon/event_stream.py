"""Marathon's event stream: one thread reads it, the loop hears of it, and it comes back by itself.

The format is the one of Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
"""

import asyncio
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from fob.errors import FobError
from fob.marathon.blocking_http import (
    ANSWER_BYTES,
    BlockingHttp,
    Reply,
    told,
)

log = logging.getLogger(__name__)

SILENCE = 60.0
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
NAMES = (
    "status_update_event",
    "instance_health_changed_event",
    "health_status_changed_event",
    "unhealthy_task_kill_event",
    "unhealthy_instance_kill_event",  # its name since Marathon 1.4
    "app_terminated_event",
    "group_change_success",
    "event_stream_attached",
)


@dataclass(frozen=True)
class MarathonEvent:
    """One of Marathon's events, one of `NAMES`."""

    name: str
    data: dict[str, Any]


class EventListener(Protocol):
    """Who hears of the stream; every method is called on the loop, in the stream's order."""

    def attached(self) -> None:
        """The stream is open: what was missed before must be asked for now."""

    def heard(self, events: list[MarathonEvent]) -> None:
        """Events have come, in the order Marathon sent them."""

    def lost(self) -> None:
        """The stream has ended; it will be opened again."""


@dataclass(frozen=True)
class Frame:
    """One frame of the stream, before its data is looked into."""

    name: str
    data: str


class Frames:
    """Cuts a stream of bytes into frames, wherever the bytes were split."""

    def __init__(self) -> None:
        self.last_id = ""
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes; raises ValueError for a line that does not end."""
        for line in self._lines(data):
            if line:
                self._field(line)
            elif self._data or self._name:
                frame = Frame(self._name or "message", "\n".join(self._data))
                self._name, self._data = "", []
                if frame.data:
                    yield frame

    def _lines(self, data: bytes) -> list[str]:
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        *lines, rest = re.split(rb"\r\n|\n|\r", data)
        if lines:
            lines[0] = b"".join((*self._begun, lines[0]))
            self._begun.clear()
            self._begun_bytes = 0
        self._begun.append(rest)
        self._begun_bytes += len(rest)
        if self._begun_bytes > ANSWER_BYTES:
            raise ValueError(f"a line of more than {ANSWER_BYTES} bytes")
        return [line.decode("utf-8", "replace").removeprefix("\ufeff") for line in lines]

    def _field(self, line: str) -> None:
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            self._name = value
        elif key == "data":
            self._data.append(value)
        elif key == "id" and "\0" not in value:
            self.last_id = value


class Follower:
    """The thread that reads the stream, until `stop`.

    A stream on which nothing comes for `SILENCE` seconds is dead (Marathon and the engine send
    heartbeats). A lost one is opened again after a pause that doubles while it does not last.
    `news` is told of every attempt, from the thread: why it failed, or None.
    """

    def __init__(
        self,
        wire: BlockingHttp,
        listener: EventListener,
        loop: asyncio.AbstractEventLoop,
        news: Callable[[FobError | None], None] = lambda _: None,
    ) -> None:
        self._wire = wire
        self._news = news
        self._listener = listener
        self._loop = loop
        self._stopped = threading.Event()
        self._last_id = ""
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="marathon-events", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the stream and its thread; nothing is heard afterwards. Idempotent."""
        self._stopped.set()
        self._wire.close()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            opened_at = time.monotonic()
            self._follow()
            lasted = time.monotonic() - opened_at > LONGEST_PAUSE
            failures = 0 if lasted else failures + 1
            self._stopped.wait(pause(failures))

    def _follow(self) -> None:
        """Read one stream to its end, whatever that is."""
        try:
            self._read()
            raise _ended(self._wire.access.place)
        except FobError as error:
            self._complain(error.message)

    def _read(self) -> None:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        url = self._wire.access.url + "/v2/events"
        with closing(self._opened(url, headers)) as reply:
            log.debug("Following the events of Marathon at %s", self._wire.access.place)
            self._complaint = ""
            self._tell(self._listener.attached)
            try:
                with told("GET", url):
                    self._hear(reply.pieces())
            finally:
                self._tell(self._listener.lost)

    def _opened(self, url: str, headers: dict[str, str]) -> Reply:
        try:
            reply = self._wire.stream(url, {"event_type": NAMES}, headers)
        except FobError as error:
            self._news(error)
            raise
        self._news(None)
        return reply

    def _hear(self, pieces: Iterator[bytes]) -> None:
        frames = Frames()
        for data in pieces:
            events = [event for frame in frames.feed(data) if (event := _event(frame))]
            self._last_id = frames.last_id or self._last_id
            if events:
                self._tell(self._listener.heard, events)
            if self._stopped.is_set():
                return

    def _tell(self, call: Callable[..., None], *args: Any) -> None:
        if self._stopped.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self._stopped.set()

    def _complain(self, message: str) -> None:
        """Log why there is no stream; once, however often the same is tried."""
        if message != self._complaint and not self._stopped.is_set():
            self._complaint = message
            log.warning("No events from Marathon: %s", message)


def pause(failures: int) -> float:
    """Seconds before the next try: doubling, capped, and spread so that many do not meet."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 20))
    return random.uniform(longest / 2, longest)


def _event(frame: Frame) -> MarathonEvent | None:
    """The frame's event; None for one that nobody here wants or that is not JSON."""
    if frame.name not in NAMES:
        return None
    try:
        data = json.loads(frame.data)
    except ValueError:
        data = None
    if isinstance(data, dict):
        return MarathonEvent(frame.name, data)
    log.warning("Marathon sent a %s that is not a JSON object; passed over", frame.name)
    return None


def _ended(place: str) -> FobError:
    return FobError(f"the stream from {place} ended")
