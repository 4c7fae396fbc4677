"""The event stream."""

import asyncio

from fob.engine.api.base import Handler
from fob.engine.refusals import Refusal

HEARTBEAT_SECONDS = 15.0  # on an event stream, so that a reader knows a silent one from a dead one


class EventStream(Handler):
    """Server-sent events; `?event_type=` filters, `Last-Event-ID` asks for what was missed."""

    async def get(self) -> None:
        if "text/event-stream" not in self.request.headers.get("Accept", ""):
            raise Refusal(405, "This endpoint speaks text/event-stream only; send Accept")
        last = self.request.headers.get("Last-Event-ID", "")
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        types = self.get_query_arguments("event_type")
        self._stream = self.house.events.attach(types, int(last) if last.isdigit() else None)
        self.house.events.publish("event_stream_attached", remoteAddress=self.request.remote_ip)
        await self.flush()
        try:
            await self._write_all()
        finally:
            self.house.events.detach(self._stream)

    async def _write_all(self) -> None:
        while True:
            try:
                event = await asyncio.wait_for(self._stream.next(), HEARTBEAT_SECONDS)
            except TimeoutError:
                self.write(b"\r\n")
                await self.flush()
                continue
            if event is None:
                return
            self.write(event.frame)
            await self.flush()

    def on_connection_close(self) -> None:
        self._stream.end()
