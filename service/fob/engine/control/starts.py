"""Starts new tasks and wakes idle ones; apps and tasks wait here while there is no room."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace

from fob.engine.control.placement import Placement, Placements
from fob.engine.control.staging import Staging
from fob.engine.definitions.app_definitions import activated
from fob.engine.errors import ApiError
from fob.engine.runtime import task_environment
from fob.engine.runtime.activation_sockets import ActivationSocket, ActivationSockets
from fob.engine.runtime.resources import NoRoom
from fob.engine.store.records import Store
from fob.engine.tasks.app import App, Waiting
from fob.engine.tasks.task import Task

log = logging.getLogger(__name__)


class Starts:
    """Starts tasks. `retry(app)` is called when an app that waits may start its next task.

    An idle task has no process and no share of the resources; its state stays TASK_RUNNING.
    """

    def __init__(
        self,
        store: Store,
        placements: Placements,
        activation_sockets: ActivationSockets,
        staging: Staging,
        retry: Callable[[App], None],
    ) -> None:
        self._store = store
        self._placements = placements
        self._activation_sockets = activation_sockets
        self._staging = staging
        self._retry = retry
        self._retry_scheduled = False
        # in the order in which they began to wait
        self._waiting_apps: dict[str, App] = {}
        self._called_tasks: dict[str, Task] = {}  # idle ones, without room for a process

    def place(self, app: App) -> Placement:
        """Place one more task of `app`, and store its record before anything of it runs.

        Raises `NoRoom` with nothing taken.
        """
        placement = self._placements.place(app)
        try:
            self._store.put_task(placement.record)
        except ApiError as full:
            placement.close()
            self._placements.give_back(placement.record.id)
            raise NoRoom("InsufficientDisk", str(full)) from full
        return placement

    def launch(self, task: Task, placement: Placement) -> None:
        """Start the process of a new task, which gets the sockets of its placement."""
        if task.container:
            task.reserved_ports = placement.take_all()
        elif activated(task.definition) and (listener := placement.take_listener()):
            task.activation_socket = ActivationSocket(self._activation_sockets, listener)
        placement.close()
        self._launch(task)

    def release_idle(self, task: Task) -> None:
        """Give back the share of a task that has become idle; the next call wakes it."""
        self._placements.give_back(task.record.id)
        assert task.activation_socket is not None
        task.activation_socket.watch(lambda: self._wake(task))

    def release(self, task: Task) -> None:
        """Give back the share of a task that has ended, and cancel what prepares its start."""
        self._staging.cancel(task)
        self._called_tasks.pop(task.record.id, None)
        self._placements.give_back(task.record.id)

    def wait_for_room(self, app: App, no_room: NoRoom) -> None:
        """Have the app wait until resources are free or another obstacle is gone."""
        self._wait(app, Waiting(no_room.reason, no_room.message))

    def back_off(self, app: App) -> None:
        """Have the app wait for the end of its backoff."""
        seconds = app.backoff.left_seconds()
        if app.waiting is None or app.waiting.reason:
            self._wait(app, Waiting("", f"backs off for {seconds:.1f} seconds after a failure"))
            asyncio.get_running_loop().call_later(seconds + 0.001, self._retry, app)

    def end_wait(self, app: App) -> None:
        app.waiting = None
        self._waiting_apps.pop(app.id, None)

    def retry_soon(self) -> None:
        """Retry all that wait for room, in the next turn of the loop."""
        if (self._waiting_apps or self._called_tasks) and not self._retry_scheduled:
            self._retry_scheduled = True
            asyncio.get_running_loop().call_soon(self._retry_all)

    def _retry_all(self) -> None:
        """Retry first the tasks that are called, then the apps, each in the order of waiting."""
        self._retry_scheduled = False
        called, self._called_tasks = self._called_tasks, {}
        for task in called.values():
            self._wake(task)
        waiting = self._waiting_apps.values()
        for app in [app for app in waiting if app.waiting and app.waiting.reason]:
            self._retry(app)

    def _wait(self, app: App, waiting: Waiting) -> None:
        before = app.waiting
        if before is None or before.reason != waiting.reason:
            log.info("%s waits: %s", app.id, waiting.message)
        app.waiting = replace(waiting, since=before.since if before else waiting.since)
        self._waiting_apps[app.id] = app

    def _wake(self, task: Task) -> None:
        """Start the process of an idle task. Without room, the clients wait in the queue of its
        socket, which the kernel keeps."""
        try:
            self._placements.wake(task.record)
        except NoRoom as no_room:
            log.info("%s is called, and waits: %s", task.record.id, no_room.message)
            self._called_tasks[task.record.id] = task
        else:
            self._launch(task)

    def _launch(self, task: Task) -> None:
        host, sandbox = self._placements.host, task.folder.sandbox
        environment = task_environment.for_task(task.record, task.definition, host, sandbox)
        self._staging.launch(task, environment)
