"""The event stream."""

import asyncio

from tornado.web import HTTPError

from fob.engine.api.base import Handler
from fob.engine.errors import ApiError

HEARTBEAT_SECONDS = 15.0  # on an event stream, so that a reader knows a silent one from a dead one


class EventStream(Handler):
    """Server-sent events; `?event_type=` filters, `?plan-format=light` leaves the groups out of
    plans, `Last-Event-ID` asks for what was missed."""

    async def get(self) -> None:
        if "text/event-stream" not in self.request.headers.get("Accept", ""):
            raise ApiError(405, "This endpoint speaks text/event-stream only; send Accept")
        last = self.request.headers.get("Last-Event-ID", "")
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        types = self.get_query_arguments("event_type")
        self._light = self.get_query_argument("plan-format", "") == "light"
        self._stream = self.house.events.attach(types, int(last) if last.isdigit() else None)
        # an event may be small, and the one before it not acknowledged yet
        self.request.connection.stream.set_nodelay(True)  # type: ignore[union-attr]
        self._tell("event_stream_attached")
        await self.flush()
        try:
            await self._write_all()
        finally:
            self.house.events.detach(self._stream)
            self._tell("event_stream_detached")

    def head(self, *path: str) -> None:
        raise HTTPError(405)

    async def _write_all(self) -> None:
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    some = await self._stream.some()
            except TimeoutError:
                self.write(b"\r\n")
                await self.flush()
                continue
            for event in some:
                if event is None:
                    await self.flush()
                    return
                self.write(event.light if self._light else event.frame)
            await self.flush()

    def _tell(self, type_: str) -> None:
        self.house.events.publish(type_, remoteAddress=self.request.remote_ip)

    def on_connection_close(self) -> None:
        self._stream.end()
