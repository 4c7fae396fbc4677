"""Readiness checks: whether a new task is ready for its work; a deployment waits for that."""

import asyncio
from collections.abc import Callable

from fob.engine.definitions.checks import readiness_checks
from fob.engine.health.probes import (
    ProbeFailed,
    Probes,
    pauses,
)
from fob.engine.tasks.check_results import Readiness
from fob.engine.tasks.task import Task


class ReadinessChecks:
    """Asks tasks, each in a loop of its own, until they are ready; `on_ready(task)` is called."""

    def __init__(self, probes: Probes, on_ready: Callable[[Task], None]) -> None:
        self._probes = probes
        self._on_ready = on_ready
        self._loops: dict[str, list[asyncio.Task[None]]] = {}

    def begin(self, task: Task) -> None:
        """Ask the task from now on, if its app has such checks."""
        task.readiness = [Readiness(check) for check in readiness_checks(task.definition)]
        if task.readiness:
            loop = asyncio.get_running_loop()
            self._loops[task.record.id] = [
                loop.create_task(self._ask(task, readiness)) for readiness in task.readiness
            ]

    def end(self, task: Task) -> None:
        """It runs no more, or is about to end."""
        for loop in self._loops.pop(task.record.id, []):
            loop.cancel()

    async def _ask(self, task: Task, readiness: Readiness) -> None:
        for pause in pauses(readiness.check.interval_seconds):
            if await self._is_ready(task, readiness):
                readiness.ready = True
                self._on_ready(task)
                return
            await asyncio.sleep(pause)

    async def _is_ready(self, task: Task, readiness: Readiness) -> bool:
        check = readiness.check
        try:
            answer = await self._probes.ask(task, check)
        except ProbeFailed:
            return False
        if check.keeps_response:
            readiness.answer = answer
        return answer.status in check.statuses
