"""What is asked of tasks that run: whether they are well, and whether they are ready."""

from collections.abc import Callable

from fob.engine.control.reports import Reports
from fob.engine.definitions.app_definitions import activated
from fob.engine.health.health_checks import HealthChecks
from fob.engine.health.probes import Probes
from fob.engine.health.readiness_checks import ReadinessChecks
from fob.engine.tasks.task import Task


class Watching:
    """Performs the checks of tasks; `on_change(task)` is called when they find something else.

    A task that says itself when it serves is not asked: no loop and no timer runs for it.
    """

    def __init__(self, probes: Probes, reports: Reports, on_change: Callable[[Task], None]) -> None:
        self._health = HealthChecks(probes, reports, on_change)
        self._readiness = ReadinessChecks(probes, on_change)
        self._reports = reports

    def runs(self, task: Task, deployed: bool) -> None:
        """It runs from now on; if it is `deployed`, somebody waits until it is ready."""
        if not activated(task.definition):
            self._health.begin(task)
            if deployed:
                self._readiness.begin(task)
        elif task.definition["healthChecks"]:
            self._reports.health(task, alive=True)

    def adopted(self, task: Task, deployed: bool) -> None:
        """It runs since an earlier engine; if it is `deployed`, somebody waits until it is ready,
        and what the earlier engine knew of that is asked again."""
        self._health.begin(task)
        if deployed and not activated(task.definition):
            self._readiness.begin(task)

    def end(self, task: Task) -> None:
        """It runs no more, or is about to end."""
        self._health.end(task)
        self._readiness.end(task)
