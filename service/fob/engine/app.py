"""An app while the engine runs: what is wanted, its tasks, and why it may have to wait."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fob.engine.definitions import Definition
from fob.engine.states import TaskState
from fob.engine.store import FAILURES_KEPT, AppRecord
from fob.engine.task import Task
from fob.timeline import utc_now

STABLE_SECONDS = 60.0  # a task that ran longer did not fail because of how it starts


@dataclass
class Backoff:
    """The wait before the next try after a failure; it grows while failures follow quickly."""

    seconds: float = 0.0
    _until: float = 0.0  # time.monotonic()

    def failed(self, definition: Definition, ran_seconds: float) -> None:
        first, factor = definition["backoffSeconds"], definition["backoffFactor"]
        grown = self.seconds * factor if self.seconds and ran_seconds < STABLE_SECONDS else first
        self.seconds = min(grown, definition["maxLaunchDelaySeconds"])
        self._until = time.monotonic() + self.seconds

    def left_seconds(self) -> float:
        return max(0.0, self._until - time.monotonic())


@dataclass(frozen=True)
class Waiting:
    """Why an app's next task is not there yet: Marathon's `reason` (empty: it backs off after a
    failure) and a `message` with the numbers."""

    reason: str
    message: str
    since: str = field(default_factory=utc_now)


class App:
    """One app; the supervisor's, who alone changes it."""

    def __init__(self, record: AppRecord) -> None:
        self.definition = record.definition
        self.version = record.version
        self.failures: deque[dict[str, Any]] = deque(record.failures, maxlen=FAILURES_KEPT)
        self.held = record.held  # no other try: the last failure would only repeat itself
        self.tasks: dict[str, Task] = {}  # all that have not ended
        self.backoff = Backoff()
        self.waiting: Waiting | None = None
        self.ports_before: deque[tuple[int, ...]] = deque()  # of tasks that an earlier engine ran

    @property
    def id(self) -> str:
        app_id: str = self.definition["id"]
        return app_id

    @property
    def instances(self) -> int:
        instances: int = self.definition["instances"]
        return instances

    def change(self, definition: Definition, version: str) -> None:
        """Another definition is wanted from now on; what held the app back no longer does."""
        self.definition = definition
        self.version = version
        self.held = False
        self.backoff = Backoff()

    def current(self) -> list[Task]:
        """Tasks that live and run the wanted configuration."""
        return [task for task in self.tasks.values() if task.alive and not self._outdated(task)]

    def outdated(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.alive and self._outdated(task)]

    def running(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.ready]

    def staged(self) -> int:
        return sum(t.state in (TaskState.STAGING, TaskState.STARTING) for t in self.tasks.values())

    def missing(self) -> int:
        """How many tasks are still to be placed."""
        return max(0, self.instances - len(self.current()))

    def settled(self) -> bool:
        """True when exactly the wanted tasks are there, and run."""
        return len(self.tasks) == self.instances == len(self.running())

    def _outdated(self, task: Task) -> bool:
        changed: str = self.definition["versionInfo"]["lastConfigChangeAt"]
        return task.record.version < changed
