"""The embedded engine as long as a dispatcher runs: started, restarted when it dies, stopped."""

import asyncio
import contextlib
import logging
from types import TracebackType

from fob.config import Settings
from fob.engine import discovery
from fob.engine.discovery import RunningEngine
from fob.errors import FobError

log = logging.getLogger(__name__)

RESTART_PAUSE = 2.0


class KeptEngine:
    """Context in which an engine runs for the state folder; a running one is adopted.

    A restarted engine has the same apps, URL and token as before.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "KeptEngine":
        """Spawn the process and return at once; `link` waits until it is ready."""
        self._starting = asyncio.create_task(discovery.find_or_start(self._settings))
        await asyncio.sleep(0)  # the task's first step spawns the process
        return self

    async def link(self) -> RunningEngine:
        """Wait for the engine to be ready; raises `FobError` when it does not start."""
        link = await self._starting
        self._keeping = asyncio.create_task(self._keep(link))
        return link

    async def _keep(self, link: RunningEngine) -> None:
        while True:
            await discovery.wait_until_ended(link)
            log.warning("The engine has ended; restarting it")
            link = await self._restarted()

    async def _restarted(self) -> RunningEngine:
        while True:
            try:
                return await discovery.find_or_start(self._settings)
            except FobError as error:
                log.error("%s", error.message)
                await asyncio.sleep(RESTART_PAUSE)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the engine, unless it was started by hand."""
        if self._keeping:
            self._keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeping
        try:
            # not cancelled: the process exists, and cannot be found before it is ready
            await self._starting
        except FobError:
            return  # `link` raised it
        # looked up again: a restart may have been in progress just now
        link = await discovery.find(self._settings)
        if link and link.managed:
            await discovery.stop(link)
