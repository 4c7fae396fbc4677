"""The requests being answered, so that a stop can wait for them."""

import asyncio
import contextlib


class InFlight:
    """Requests begun and not ended; `stopping` is set once no new ones are wanted."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self._requests: set[object] = set()
        # only while somebody waits for it: every call begins and ends here
        self._none: asyncio.Event | None = None

    def begin(self, request: object) -> None:
        self._requests.add(request)

    def end(self, request: object) -> None:
        """Idempotent: a request may end twice, answered and then disconnected."""
        self._requests.discard(request)
        if self._none and not self._requests:
            self._none.set()

    async def stop(self, grace: float) -> int:
        """Wait up to `grace` seconds until all have ended; answers how many have not."""
        self.stopping.set()
        if self._requests:
            self._none = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none.wait(), grace)
        return len(self._requests)
