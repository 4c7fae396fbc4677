"""Health checks: whether a task that runs is well, and the end of one that is not.

Nothing here is done for a task that says itself when it serves (see activation in the docs).
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fob.engine.health.probes import ProbeFailed, Probes, pauses
from fob.engine.tasks.check_results import Health
from fob.engine.tasks.task import Task
from fob.timeline import seconds_since

log = logging.getLogger(__name__)

LEAST_PAUSE_SECONDS = 0.1  # between two checks, where the app wants none


class Telling(Protocol):
    """Who hears of the health of tasks."""

    def health(self, task: Task, alive: bool) -> None: ...
    def failed_check(self, task: Task, health: Health) -> None: ...
    def unhealthy(self, task: Task, health: Health) -> None: ...


class HealthChecks:
    """Performs the health checks of tasks that run, each in a loop of its own.

    `on_change(task)` is called when one of a task's checks begins to find it alive, or no longer
    does.
    """

    def __init__(self, probes: Probes, told: Telling, on_change: Callable[[Task], None]) -> None:
        self._probes = probes
        self._told = told
        self._on_change = on_change
        self._loops: dict[str, list[asyncio.Task[None]]] = {}

    def begin(self, task: Task) -> None:
        """Check the task from now on, if its app wants that."""
        if task.health and task.record.id not in self._loops:
            loop = asyncio.get_running_loop()
            self._loops[task.record.id] = [
                loop.create_task(self._watch(task, health)) for health in task.health
            ]

    def end(self, task: Task) -> None:
        """It runs no more, or is about to end."""
        for loop in self._loops.pop(task.record.id, []):
            loop.cancel()

    async def _watch(self, task: Task, health: Health) -> None:
        check = health.check
        await asyncio.sleep(check.delay_seconds)
        interval = max(check.interval_seconds, LEAST_PAUSE_SECONDS)
        growing = pauses(interval)
        while True:
            try:
                counts = await self._probes.look(task, check)
            except ProbeFailed as failed:
                self._failed(task, health, str(failed))
            else:
                if counts:
                    self._succeeded(task, health)
            # as long as failures do not count, it may look more often
            await asyncio.sleep(next(growing) if _is_starting(task, health) else interval)

    def _succeeded(self, task: Task, health: Health) -> None:
        before = health.alive
        health.succeeded()
        self._tell_change(task, health, before)

    def _failed(self, task: Task, health: Health, cause: str) -> None:
        if not task.ready or _is_starting(task, health):
            return
        before, most = health.alive, health.check.max_failures
        health.failed(cause)
        log.info("%s: health check %s failed: %s", task.record.id, health.check.protocol, cause)
        self._told.failed_check(task, health)
        self._tell_change(task, health, before)
        if most and health.failures >= most:
            self._told.unhealthy(task, health)
            times = f"{most} times in a row" if most > 1 else "once"
            task.kill(f"its health check failed {times}: {cause}", failed=True)

    def _tell_change(self, task: Task, health: Health, before: bool) -> None:
        if health.alive != before:
            self._told.health(task, health.alive)
            self._on_change(task)


def _is_starting(task: Task, health: Health) -> bool:
    """True while failures do not count."""
    if health.first_success or task.record.started_at is None:
        return False
    return seconds_since(task.record.started_at) < health.check.grace_seconds
