"""Where a task goes: its share of the machine, its ports, and the record that says so."""

import socket
import uuid
from dataclasses import dataclass, replace

from fob.engine.app import App
from fob.engine.resources import NoRoom, Resources, bind, check_placement
from fob.engine.states import TaskState
from fob.engine.store import TaskRecord
from fob.timeline import utc_now


@dataclass(frozen=True)
class Placement:
    """A task's record, and its ports held by `sockets` in order."""

    record: TaskRecord
    sockets: list[socket.socket]

    def hand_over(self) -> socket.socket | None:
        """The listening socket that the task takes; None when the app wants no port."""
        return self.sockets[0] if self.sockets else None

    def close(self, but: socket.socket | None = None) -> None:
        for sock in self.sockets:
            if sock is not but:
                sock.close()


class Placements:
    """Gives out places on this machine."""

    def __init__(self, resources: Resources, host: str) -> None:
        self.host = host
        self._resources = resources

    def take(self, app: App) -> Placement:
        """A place for one more task of `app`. Raises `NoRoom` with nothing taken."""
        check_placement(app.definition, len(app.tasks))
        record = _new_record(app)
        self._resources.take(record.id, app.definition)
        try:
            sockets = self._bind(app)
        except NoRoom:
            self.give_back(record.id)
            raise
        ports = tuple(sock.getsockname()[1] for sock in sockets)
        return Placement(replace(record, ports=ports), sockets)

    def adopt(self, record: TaskRecord) -> None:
        """Enter a task that an earlier engine placed."""
        self._resources.adopt(record.id, record.cpus, record.mem)

    def give_back(self, task_id: str) -> None:
        self._resources.give_back(task_id)

    def _bind(self, app: App) -> list[socket.socket]:
        before = app.ports_before.popleft() if app.ports_before else ()
        bound: list[socket.socket] = []
        try:
            for index, asked in enumerate(app.definition["portDefinitions"]):
                fixed = asked.get("port", 0) if app.definition["requirePorts"] else 0
                bound.append(bind(self.host, fixed, before[index : index + 1]))
        except NoRoom:
            for sock in bound:
                sock.close()
            raise
        return bound


def _new_record(app: App) -> TaskRecord:
    return TaskRecord(
        id=f"{app.id[1:].replace('/', '_')}.{uuid.uuid4()}",
        app_id=app.id,
        version=app.version,
        state=TaskState.STAGING,
        ports=(),
        cpus=app.definition["cpus"],
        mem=app.definition["mem"],
        staged_at=utc_now(),
    )
