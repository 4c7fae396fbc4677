"""Readiness checks: probe new tasks until they are ready; a deployment waits for that."""

import asyncio
from collections.abc import Callable

from fob.engine.definitions.checks import readiness_checks
from fob.engine.health.probes import ProbeFailed, Probes, pauses
from fob.engine.tasks.check_results import Readiness
from fob.engine.tasks.task import Task


class ReadinessChecks:
    """Runs the readiness checks of tasks, each in its own loop until it succeeds. `on_ready(task)`
    is called then."""

    def __init__(self, probes: Probes, on_ready: Callable[[Task], None]) -> None:
        self._probes = probes
        self._on_ready = on_ready
        self._loops: dict[str, list[asyncio.Task[None]]] = {}

    def begin(self, task: Task) -> None:
        """Start the checks of the task, if its app has any."""
        task.readiness = [Readiness(check) for check in readiness_checks(task.definition)]
        if task.readiness:
            loop = asyncio.get_running_loop()
            self._loops[task.record.id] = [
                loop.create_task(self._check_until_ready(task, readiness))
                for readiness in task.readiness
            ]

    def end(self, task: Task) -> None:
        """Cancel the checks of the task."""
        for loop in self._loops.pop(task.record.id, []):
            loop.cancel()

    async def _check_until_ready(self, task: Task, readiness: Readiness) -> None:
        for pause in pauses(readiness.check.interval_seconds):
            if await self._is_ready(task, readiness):
                readiness.ready = True
                self._on_ready(task)
                return
            await asyncio.sleep(pause)

    async def _is_ready(self, task: Task, readiness: Readiness) -> bool:
        check = readiness.check
        try:
            response = await self._probes.check_readiness(task, check)
        except ProbeFailed:
            return False
        if check.keeps_response:
            readiness.response = response
        return response.status in check.statuses
