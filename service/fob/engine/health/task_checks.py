"""Which checks the engine performs for a task, and from when to when.

A task that takes its socket from the engine reports itself when it is ready, so no loop and no
timer runs for it.
"""

from collections.abc import Callable

from fob.engine.definitions.app_definitions import activated
from fob.engine.health.health_checks import HealthChecks, HealthListener
from fob.engine.health.probes import Probes
from fob.engine.health.readiness_checks import ReadinessChecks
from fob.engine.tasks.task import Task


class TaskChecks:
    """The checks of all tasks; `on_change(task)` is called when their results change."""

    def __init__(
        self, probes: Probes, listener: HealthListener, on_change: Callable[[Task], None]
    ) -> None:
        self._health = HealthChecks(probes, listener, on_change)
        self._readiness = ReadinessChecks(probes, on_change)
        self._listener = listener

    def begin(self, task: Task, deploying: bool) -> None:
        """Check a task that has just come to run; its readiness only when it is `deploying`."""
        if not activated(task.definition):
            self._health.begin(task)
            if deploying:
                self._readiness.begin(task)
        elif task.definition["healthChecks"]:
            self._listener.health_changed(task, alive=True)

    def resume(self, task: Task, deploying: bool) -> None:
        """Check an adopted task, from the start: results of the earlier engine are not stored."""
        self._health.begin(task)
        if deploying and not activated(task.definition):
            self._readiness.begin(task)

    def end(self, task: Task) -> None:
        """Check the task no longer: it has ended or is being killed."""
        self._health.end(task)
        self._readiness.end(task)
