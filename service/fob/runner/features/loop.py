"""The event loop of `async def` functions, in a thread that lives as long as the process.

So a client session made by one call can be used by the next.
"""

from __future__ import annotations

import asyncio
import threading

from fob.runner.core.failures import trace
from fob.runner.core.output import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any


class Loop:
    """A loop for which calls wait, each in its own thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name="event loop", daemon=True).start()

    def wait(self, awaitable: Awaitable[Any], call: Any) -> Any:
        """Run `awaitable` in the loop; return or raise its outcome. Sets the `cancel` of `call`."""

        async def settle() -> tuple[Any, BaseException | None]:
            task = asyncio.current_task()
            assert task is not None
            call.cancel = lambda: self._loop.call_soon_threadsafe(task.cancel)
            try:
                return await awaitable, None
            except BaseException as error:  # noqa: BLE001 - SystemExit would end the loop
                return None, error

        result, error = asyncio.run_coroutine_threadsafe(settle(), self._loop).result()
        if error is not None:
            raise error
        return result

    def _run(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except BaseException as error:  # noqa: BLE001 - a stray task must not end the loop
                log(trace(error))
