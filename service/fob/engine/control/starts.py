"""A new task: from its place on the machine to what it needs for its process."""

from collections.abc import Callable

from fob.engine.control.activation import Activation
from fob.engine.control.placement import Placement, Placements
from fob.engine.control.reports import Reports
from fob.engine.definitions.app_definitions import Definition, activated
from fob.engine.errors import ApiError
from fob.engine.runtime.activation_sockets import ActivationSocket, ActivationSockets
from fob.engine.runtime.resources import NoRoom
from fob.engine.store.records import Store, TaskRecord
from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task

Make = Callable[[TaskRecord, Definition], Task]


class Starts:
    """Starts tasks, which `make(record, definition)` makes."""

    def __init__(
        self,
        store: Store,
        placements: Placements,
        doors: ActivationSockets,
        activation: Activation,
        reports: Reports,
        make: Make,
    ) -> None:
        self._store = store
        self._placements = placements
        self._doors = doors
        self._activation = activation
        self._reports = reports
        self._make = make

    def start(self, app: App, enter: Callable[[Task], None]) -> None:
        """Start one more task of `app`; it is known by `enter` before its process is there.

        Raises `NoRoom` with nothing taken.
        """
        placement = self._placements.take(app)
        try:
            self._store.put_task(placement.record)
            self._launch(app, placement, enter)
        except ApiError as full:
            self._placements.give_back(placement.record.id)
            raise NoRoom("InsufficientDisk", str(full)) from full
        finally:
            placement.close()

    def _launch(self, app: App, placement: Placement, enter: Callable[[Task], None]) -> None:
        task = self._make(placement.record, app.definition)
        enter(task)
        self._reports.status(task, "")
        if task.container:
            task.held = placement.hand_over()
        elif activated(app.definition) and (listener := placement.listener()):
            task.door = ActivationSocket(self._doors, listener)
        placement.close()
        self._activation.start(task)
