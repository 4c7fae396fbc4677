"""The event stream: server-sent events."""

import asyncio

from tornado.web import HTTPError

from fob.engine.api.base import MarathonHandler
from fob.engine.errors import ApiError

HEARTBEAT_SECONDS = 15.0  # lets a client tell a quiet stream from a dead connection


class EventStreamHandler(MarathonHandler):
    """`?event_type=` filters, `?plan-format=light` leaves the groups out of plans, and
    `Last-Event-ID` resumes after that event."""

    async def get(self) -> None:
        if "text/event-stream" not in self.request.headers.get("Accept", ""):
            raise ApiError(405, "This endpoint speaks text/event-stream only; send Accept")
        last = self.request.headers.get("Last-Event-ID", "")
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        types = self.get_query_arguments("event_type")
        self._light = self.get_query_argument("plan-format", "") == "light"
        self._stream = self.engine.events.attach(types, int(last) if last.isdigit() else None)
        # otherwise Nagle's algorithm holds a small event back until the one before is acknowledged
        self.request.connection.stream.set_nodelay(True)  # type: ignore[union-attr]
        self._publish("event_stream_attached")
        await self.flush()
        try:
            await self._write_all()
        finally:
            self.engine.events.detach(self._stream)
            self._publish("event_stream_detached")

    def head(self, *path: str) -> None:
        raise HTTPError(405)

    async def _write_all(self) -> None:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    events = await self._stream.take()
            except TimeoutError:
                self.write(b"\r\n")
                await self.flush()
                continue
            for event in events:
                if event is None:
                    await self.flush()
                    return
                self.write(event.light if self._light else event.frame)
            await self.flush()

    def _publish(self, type_: str) -> None:
        self.engine.events.publish(type_, remoteAddress=self.request.remote_ip)

    def on_connection_close(self) -> None:
        self._stream.end()
