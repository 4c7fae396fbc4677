"""A timer that can be set again and cancelled."""

import asyncio
from collections.abc import Callable


class Deadline:
    """At most one timer at a time."""

    __slots__ = ("_timer",)

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback()` after `seconds`, instead of what was set before."""
        self.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, callback)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
