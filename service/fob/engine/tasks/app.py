"""An app while the engine runs: its desired state, its tasks, and why the next one may wait."""

import socket
import time
from dataclasses import dataclass, field
from typing import Any

from fob.engine.definitions.app_definitions import Definition
from fob.engine.store.records import MAX_FAILURES, AppRecord
from fob.engine.tasks.task import Task
from fob.timeline import utc_now

STABLE_SECONDS = 60.0  # a task that ran this long did not fail because of how it starts


@dataclass
class Backoff:
    """The delay before the next start after a failure; it grows while failures follow quickly."""

    seconds: float = 0.0
    _until: float = 0.0  # time.monotonic()

    def add_failure(self, definition: Definition, ran_seconds: float) -> None:
        first, factor = definition["backoffSeconds"], definition["backoffFactor"]
        grown = self.seconds * factor if self.seconds and ran_seconds < STABLE_SECONDS else first
        self.seconds = min(grown, definition["maxLaunchDelaySeconds"])
        self._until = time.monotonic() + self.seconds

    def left_seconds(self) -> float:
        return max(0.0, self._until - time.monotonic())


@dataclass(frozen=True)
class Waiting:
    """Why an app's next task has not been started: Marathon's `reason` (empty: backoff after a
    failure), and a `message` with the numbers."""

    reason: str
    message: str
    since: str = field(default_factory=utc_now)


class App:
    """One app; only the supervisor changes it."""

    def __init__(self, record: AppRecord) -> None:
        self.definition = record.definition
        self.version = record.version
        self.failures = record.failures  # oldest first
        self.held = record.held  # after a permanent failure: no start until the app is changed
        self.tasks: dict[str, Task] = {}  # all that have not ended
        self.backoff = Backoff()
        self.waiting: Waiting | None = None
        # for the replacements of tasks that have ended: the same ports, or the very listening
        # sockets, with the connections that are queued there
        self.inherited_ports: list[tuple[int, ...]] = []
        self.inherited_listeners: list[socket.socket] = []

    @property
    def id(self) -> str:
        app_id: str = self.definition["id"]
        return app_id

    @property
    def instances(self) -> int:
        instances: int = self.definition["instances"]
        return instances

    def change(self, definition: Definition, version: str) -> None:
        """Set the desired state; failures of earlier versions no longer delay or hold the app."""
        self.definition = definition
        self.version = version
        self.held = False
        self.backoff = Backoff()
        self.close_listeners()

    def close_listeners(self) -> None:
        """Close listening sockets that no task will inherit, which resets the connections there."""
        while self.inherited_listeners:
            self.inherited_listeners.pop().close()

    def add_failure(self, failure: dict[str, Any]) -> None:
        """Append a failure of one of its tasks; keep the last `MAX_FAILURES`."""
        self.failures.append(failure)
        del self.failures[:-MAX_FAILURES]

    def current(self) -> list[Task]:
        """Its live tasks with the desired configuration."""
        return [task for task in self.tasks.values() if task.alive and not self._outdated(task)]

    def outdated(self) -> list[Task]:
        """Its live tasks with an earlier configuration."""
        return [task for task in self.tasks.values() if task.alive and self._outdated(task)]

    def running(self) -> list[Task]:
        return [task for task in self.tasks.values() if task.running]

    def missing(self) -> int:
        """How many tasks are still to be started."""
        return max(0, self.instances - len(self.current()))

    def settled(self) -> bool:
        """True when exactly the desired tasks exist and run, and the new ones are available."""
        if not len(self.tasks) == self.instances == len(self.running()):
            return False
        new = [task for task in self.tasks.values() if task.record.version == self.version]
        return not self.outdated() and all(task.available for task in new)

    def placed(self) -> int:
        """How many tasks with the desired configuration exist, including those being killed."""
        return sum(not self._outdated(task) for task in self.tasks.values())

    def _outdated(self, task: Task) -> bool:
        changed: str = self.definition["versionInfo"]["lastConfigChangeAt"]
        return task.record.version < changed
