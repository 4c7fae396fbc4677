"""Tasks that run while they are called: woken when somebody knocks, at rest when nobody does.

A task at rest has no process and no share of the machine's promises; its state stays TASK_RUNNING.
"""

import logging

from fob.engine.control.placement import Placements
from fob.engine.control.staging import Staging
from fob.engine.runtime import task_environment
from fob.engine.runtime.resources import NoRoom
from fob.engine.tasks.task import Task

log = logging.getLogger(__name__)


class Activation:
    """Starts the process of a task; of one that rests, when there is a call and room for it."""

    def __init__(self, placements: Placements, staging: Staging) -> None:
        self._placements = placements
        self._staging = staging
        self.waiting: dict[str, Task] = {}  # called, and waiting for room

    def start(self, task: Task) -> None:
        """Start the process of a task that has its place."""
        host, sandbox = self._placements.host, task.folder.sandbox
        self._staging.launch(
            task, task_environment.for_task(task.record, task.definition, host, sandbox)
        )

    def rest(self, task: Task) -> None:
        """The task has come to rest: its share is given back, and the next call wakes it."""
        self._placements.give_back(task.record.id)
        assert task.door is not None
        task.door.watch(lambda: self._wake(task))

    def ended(self, task: Task) -> None:
        self.waiting.pop(task.record.id, None)

    def room_appeared(self) -> None:
        """Try again those who wait, the longest waiting first."""
        waiting, self.waiting = self.waiting, {}
        for task in waiting.values():
            self._wake(task)

    def _wake(self, task: Task) -> None:
        """Start it for whoever calls; without room the caller waits, for the socket takes it."""
        try:
            self._placements.wake(task.record)
        except NoRoom as no_room:
            log.info("%s is called, and waits: %s", task.record.id, no_room.message)
            self.waiting[task.record.id] = task
        else:
            self.start(task)
