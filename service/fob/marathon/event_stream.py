"""Marathon's event stream: a thread reads it, calls the listener on the loop, and reconnects.

The format is Server-Sent Events (https://html.spec.whatwg.org/multipage/server-sent-events.html).
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
    MAX_RESPONSE_BYTES,
    BlockingHttp,
    StreamedResponse,
    errors_translated,
)

log = logging.getLogger(__name__)

SILENCE_SECONDS = 60.0  # after which a stream is dead: Marathon and the engine send heartbeats
FIRST_PAUSE = 0.1
MAX_PAUSE = 10.0
EVENT_NAMES = (
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
    """An event of Marathon; its name is one of `EVENT_NAMES`."""

    name: str
    data: dict[str, Any]


class EventListener(Protocol):
    """Receives the events. All methods are called on the loop, in the order of the stream."""

    def on_attached(self) -> None:
        """The stream is open. Earlier events may be missing: fetch the current state."""

    def on_events(self, events: list[MarathonEvent]) -> None:
        """Events have arrived, in Marathon's order."""

    def on_lost(self) -> None:
        """The stream has ended; it will be reopened."""


@dataclass(frozen=True)
class Frame:
    """A frame of the stream; its data is not parsed yet."""

    name: str
    data: str


class FrameParser:
    """Splits a stream of bytes into frames, wherever the chunks of bytes begin and end."""

    def __init__(self) -> None:
        self.last_id = ""
        self._partial: list[bytes] = []  # of a line
        self._partial_bytes = 0
        self._after_cr = False
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes. Raises `ValueError` for an overlong line."""
        for line in self._lines(data):
            if line:
                self._field(line)
            elif self._data or self._name:
                frame = Frame(self._name or "message", "\n".join(self._data))
                self._name, self._data = "", []
                if frame.data:
                    yield frame

    def _lines(self, data: bytes) -> list[str]:
        if self._after_cr:  # a CR LF may be split between two chunks
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        *lines, rest = re.split(rb"\r\n|\n|\r", data)
        if lines:
            lines[0] = b"".join((*self._partial, lines[0]))
            self._partial.clear()
            self._partial_bytes = 0
        self._partial.append(rest)
        self._partial_bytes += len(rest)
        if self._partial_bytes > MAX_RESPONSE_BYTES:
            raise ValueError(f"a line of more than {MAX_RESPONSE_BYTES} bytes")
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
    """A thread that reads the event stream until `stop`.

    A lost stream is reopened after a pause, which doubles with each stream that does not last.
    `on_attempt` is called on the thread after each attempt to open it: with the error, or None.
    """

    def __init__(
        self,
        http: BlockingHttp,
        listener: EventListener,
        loop: asyncio.AbstractEventLoop,
        on_attempt: Callable[[FobError | None], None] = lambda _: None,
    ) -> None:
        self._http = http
        self._on_attempt = on_attempt
        self._listener = listener
        self._loop = loop
        self._stopped = threading.Event()
        self._last_id = ""
        self._last_warning = ""
        self._thread = threading.Thread(target=self._run, name="marathon-events", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the stream and the thread. The listener is not called afterwards. Idempotent."""
        self._stopped.set()
        self._http.close()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            opened_at = time.monotonic()
            self._follow()
            lasted = time.monotonic() - opened_at > MAX_PAUSE
            failures = 0 if lasted else failures + 1
            self._stopped.wait(backoff(failures))

    def _follow(self) -> None:
        """Read one stream to its end and log why it ended."""
        try:
            self._read()
            raise FobError(f"the stream from {self._http.access.address} ended")
        except FobError as error:
            self._warn_once(error.message)

    def _read(self) -> None:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        url = self._http.access.url + "/v2/events"
        with closing(self._open(url, headers)) as response:
            log.debug("Following the events of Marathon at %s", self._http.access.address)
            self._last_warning = ""
            self._call_on_loop(self._listener.on_attached)
            try:
                with errors_translated("GET", url):
                    self._deliver(response.iter_bytes())
            finally:
                self._call_on_loop(self._listener.on_lost)

    def _open(self, url: str, headers: dict[str, str]) -> StreamedResponse:
        try:
            response = self._http.stream(url, {"event_type": EVENT_NAMES}, headers)
        except FobError as error:
            self._on_attempt(error)
            raise
        self._on_attempt(None)
        return response

    def _deliver(self, chunks: Iterator[bytes]) -> None:
        """Pass the events to the listener, those of one chunk together."""
        parser = FrameParser()
        for chunk in chunks:
            events = [event for frame in parser.feed(chunk) if (event := _event(frame))]
            self._last_id = parser.last_id or self._last_id
            if events:
                self._call_on_loop(self._listener.on_events, events)
            if self._stopped.is_set():
                return

    def _call_on_loop(self, call: Callable[..., None], *args: Any) -> None:
        if self._stopped.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # the loop is closed
            self._stopped.set()

    def _warn_once(self, message: str) -> None:
        """Log why there is no stream, unless the attempt before failed in the same way."""
        if message != self._last_warning and not self._stopped.is_set():
            self._last_warning = message
            log.warning("No events from Marathon: %s", message)


def backoff(failures: int) -> float:
    """Return the seconds before the next attempt: doubling up to `MAX_PAUSE`, with jitter."""
    longest = min(MAX_PAUSE, FIRST_PAUSE * 2 ** min(failures, 20))
    return random.uniform(longest / 2, longest)


def _event(frame: Frame) -> MarathonEvent | None:
    """Parse a frame; None if it is not one of `EVENT_NAMES` or its data is not a JSON object."""
    if frame.name not in EVENT_NAMES:
        return None
    try:
        data = json.loads(frame.data)
    except ValueError:
        data = None
    if isinstance(data, dict):
        return MarathonEvent(frame.name, data)
    log.warning("Ignored a %s from Marathon: its data is not a JSON object", frame.name)
    return None
