"""The requests in flight, so that a stop can wait for them."""

import asyncio
import contextlib


class InFlight:
    """Requests that have begun and not ended; `stopping` is set once the dispatcher stops."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._requests: set[object] = set()
        # made only by `stop`: every call begins and ends here, and should not set an event
        self._none_left: asyncio.Event | None = None

    def begin(self, request: object) -> None:
        self._requests.add(request)

    def end(self, request: object) -> None:
        """Idempotent: a request may end twice, with its response and with its connection."""
        self._requests.discard(request)
        if self._none_left and not self._requests:
            self._none_left.set()

    async def stop(self, grace: float) -> int:
        """Wait up to `grace` seconds until all have ended; return how many have not."""
        self.stopping.set()
        if self._requests:
            self._none_left = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), grace)
        return len(self._requests)
