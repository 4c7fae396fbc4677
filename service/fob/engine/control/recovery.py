"""What an earlier engine has left: which of its tasks still run, which rest, and which are gone."""

from collections.abc import Callable

from fob.engine.control.placement import Placements
from fob.engine.definitions.app_definitions import Definition, on_demand
from fob.engine.runtime.activation_sockets import ActivationSocket, ActivationSockets
from fob.engine.runtime.launcher import Launcher
from fob.engine.runtime.resources import NoRoom
from fob.engine.states import ENDED, TaskState
from fob.engine.store.records import Store, TaskRecord
from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task

Make = Callable[[TaskRecord, Definition], Task]


class Recovery:
    """Finds tasks again by their records. A process is adopted, never started twice; a task that
    rests gets its port back, and no process."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        placements: Placements,
        doors: ActivationSockets,
        make: Make,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._placements = placements
        self._doors = doors
        self._make = make

    def find(self, record: TaskRecord, app: App | None) -> Task | None:
        """The task of this record; None when it is gone, and then its place is filled again."""
        definition = app and self._definition(app, record.version)
        if record.state not in ENDED and (definition or app is None):
            task = self._make(record, definition or _unknown(record))
            if self._runs(task) or self._rests(task):
                return task
        self._store.remove_task(record.id)
        if app is not None:
            app.ports_before.append(record.ports)
        return None

    def _definition(self, app: App, version: str) -> Definition | None:
        if version == app.version:
            return app.definition  # the same object, for there may be many
        return self._store.definition(app.id, version)

    def _runs(self, task: Task) -> bool:
        known = task.record.handle is not None or not _may_rest(task)
        adopted = known and task.adopt(self._launcher)
        if adopted:
            self._placements.adopt(task.record)
        return adopted

    def _rests(self, task: Task) -> bool:
        """True for a task that is at rest now; what was called last may have died since."""
        if not _may_rest(task):
            return False
        try:
            listener = self._placements.reopen(task.record)
        except NoRoom:  # taken: by its own process, if the engine died before it could note that
            task.forget_process()
            return self._adopted_unnoted(task)
        task.door = ActivationSocket(self._doors, listener)
        task.folder.clean()
        return True

    def _adopted_unnoted(self, task: Task) -> bool:
        adopted = task.adopt(self._launcher)
        if adopted:
            self._placements.adopt(task.record)
        return adopted


def end_adopted(task: Task) -> None:
    """End a task that is not wanted any more."""
    if task.state is TaskState.KILLING:  # the engine died before it could kill it
        task.stop_hard()
    else:
        task.kill("the app was removed")


def _may_rest(task: Task) -> bool:
    return task.ready and on_demand(task.definition)


def _unknown(record: TaskRecord) -> Definition:
    """Enough of a definition to stop a task whose app is gone."""
    nothing: Definition = {"healthChecks": [], "readinessChecks": [], "portDefinitions": []}
    return nothing | {"id": record.app_id, "labels": {}}
