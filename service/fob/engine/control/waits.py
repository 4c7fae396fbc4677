"""The apps whose next task has to wait: for room, or for the end of a backoff."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from fob.engine.tasks.app import App, Waiting

log = logging.getLogger(__name__)


class Waits:
    """Those who wait, in the order in which they came; `again(app)` is called when a backoff is
    over."""

    def __init__(self, again: Callable[[App], None]) -> None:
        self._again = again
        self._apps: dict[str, App] = {}

    def __bool__(self) -> bool:
        return bool(self._apps)

    def begin(self, app: App, waiting: Waiting) -> None:
        """It waits for room, or still does, perhaps for another reason."""
        before = app.waiting
        if before is None or before.reason != waiting.reason:
            log.info("%s waits: %s", app.id, waiting.message)
        app.waiting = replace(waiting, since=before.since if before else waiting.since)
        self._apps[app.id] = app

    def back_off(self, app: App) -> None:
        """It waits for the end of its backoff."""
        seconds = app.backoff.left_seconds()
        if app.waiting is None or app.waiting.reason:
            self.begin(app, Waiting("", f"backs off for {seconds:.1f} seconds after a failure"))
            asyncio.get_running_loop().call_later(seconds + 0.001, self._again, app)

    def end(self, app: App) -> None:
        """It does not wait any more."""
        app.waiting = None
        self._apps.pop(app.id, None)

    def for_room(self) -> list[App]:
        """Those who wait for room, the longest waiting first."""
        return [app for app in self._apps.values() if app.waiting and app.waiting.reason]
