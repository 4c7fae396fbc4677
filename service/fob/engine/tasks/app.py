"""An app while the engine runs: what is wanted, its tasks, and why it may have to wait."""

import socket
import time
from dataclasses import dataclass, field
from typing import Any

from fob.engine.definitions.app_definitions import Definition
from fob.engine.store.records import MAX_FAILURES, AppRecord
from fob.engine.tasks.task import Task
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
        self.failures = record.failures  # oldest first
        self.held = record.held  # no other try: the last failure would only repeat itself
        self.tasks: dict[str, Task] = {}  # all that have not ended
        self.backoff = Backoff()
        self.waiting: Waiting | None = None
        # of tasks that are to be replaced: ports, and sockets with all who wait there
        self.ports_before: list[tuple[int, ...]] = []
        self.listeners: list[socket.socket] = []

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
        self.close_listeners()

    def close_listeners(self) -> None:
        """No task will take them: who waits there is sent away."""
        while self.listeners:
            self.listeners.pop().close()

    def failed(self, failure: dict[str, Any]) -> None:
        """Remember a failure of one of its tasks, and the last few before it."""
        self.failures.append(failure)
        del self.failures[:-MAX_FAILURES]

    def current(self) -> list[Task]:
        """Tasks that live and run the wanted configuration."""
        return [task for task in self.tasks.values() if task.alive and not self._outdated(task)]

    def outdated(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.alive and self._outdated(task)]

    def running(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.ready]

    def missing(self) -> int:
        """How many tasks are still to be placed."""
        return max(0, self.instances - len(self.current()))

    def settled(self) -> bool:
        """True when exactly the wanted tasks are there and run, and those that are new are fit."""
        if not len(self.tasks) == self.instances == len(self.running()):
            return False
        new = [task for task in self.tasks.values() if task.record.version == self.version]
        return not self.outdated() and all(task.fit for task in new)

    def placed(self) -> int:
        """How many tasks of the wanted configuration are there, with those that are stopping."""
        return sum(not self._outdated(task) for task in self.tasks.values())

    def _outdated(self, task: Task) -> bool:
        changed: str = self.definition["versionInfo"]["lastConfigChangeAt"]
        return task.record.version < changed
