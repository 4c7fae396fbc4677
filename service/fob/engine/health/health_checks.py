"""Health checks: probe running tasks, and kill those that fail too often."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fob.engine.health.probes import ProbeFailed, Probes, pauses
from fob.engine.tasks.check_results import Health
from fob.engine.tasks.task import Task
from fob.timeline import seconds_since

log = logging.getLogger(__name__)

MIN_PAUSE_SECONDS = 0.1  # between two probes, for apps with an interval of 0


class HealthListener(Protocol):
    """Is notified of the results of health checks."""

    def health_changed(self, task: Task, alive: bool) -> None: ...
    def health_check_failed(self, task: Task, health: Health) -> None: ...
    def killed_as_unhealthy(self, task: Task, health: Health) -> None: ...


class HealthChecks:
    """Runs the health checks of tasks, each in its own loop.

    `on_change(task)` is called when a check of the task changes between alive and not alive.
    """

    def __init__(
        self, probes: Probes, listener: HealthListener, on_change: Callable[[Task], None]
    ) -> None:
        self._probes = probes
        self._listener = listener
        self._on_change = on_change
        self._loops: dict[str, list[asyncio.Task[None]]] = {}

    def begin(self, task: Task) -> None:
        """Start the checks of the task, if its app has any."""
        if task.health and task.record.id not in self._loops:
            loop = asyncio.get_running_loop()
            self._loops[task.record.id] = [
                loop.create_task(self._check_forever(task, health)) for health in task.health
            ]

    def end(self, task: Task) -> None:
        """Cancel the checks of the task."""
        for loop in self._loops.pop(task.record.id, []):
            loop.cancel()

    async def _check_forever(self, task: Task, health: Health) -> None:
        check = health.check
        await asyncio.sleep(check.delay_seconds)
        interval = max(check.interval_seconds, MIN_PAUSE_SECONDS)
        growing = pauses(interval)
        while True:
            try:
                conclusive = await self._probes.check_health(task, check)
            except ProbeFailed as failed:
                self._failed(task, health, str(failed))
            else:
                if conclusive:
                    self._succeeded(task, health)
            # while failures do not count, probe more often to find the first success soon
            await asyncio.sleep(next(growing) if _is_starting(task, health) else interval)

    def _succeeded(self, task: Task, health: Health) -> None:
        before = health.alive
        health.succeeded()
        self._notify_if_changed(task, health, before)

    def _failed(self, task: Task, health: Health, cause: str) -> None:
        if not task.running:
            return
        if _is_starting(task, health):
            health.failed_while_starting()
            return
        before, max_failures = health.alive, health.check.max_failures
        health.failed(cause)
        log.info("%s: health check %s failed: %s", task.record.id, health.check.protocol, cause)
        self._listener.health_check_failed(task, health)
        self._notify_if_changed(task, health, before)
        if max_failures and health.failures >= max_failures:
            self._listener.killed_as_unhealthy(task, health)
            times = f"{max_failures} times in a row" if max_failures > 1 else "once"
            task.kill(f"its health check failed {times}: {cause}", failed=True)

    def _notify_if_changed(self, task: Task, health: Health, before: bool) -> None:
        if health.alive != before:
            self._listener.health_changed(task, health.alive)
            self._on_change(task)


def _is_starting(task: Task, health: Health) -> bool:
    """True while failures do not count: in the grace period, before the first success."""
    if health.first_success or task.record.started_at is None:
        return False
    return seconds_since(task.record.started_at) < health.check.grace_seconds
