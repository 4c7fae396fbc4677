"""The place of a task on this machine: its share of the resources, its ports, and its record."""

import socket
import uuid
from dataclasses import dataclass, replace

from fob.engine.definitions.containers import ports_of
from fob.engine.runtime.docker.policy import DockerPolicy
from fob.engine.runtime.resources import NoRoom, Resources, bind, check_placement
from fob.engine.states import TaskState
from fob.engine.store.records import TaskRecord
from fob.engine.tasks.app import App
from fob.timeline import utc_now


@dataclass(frozen=True)
class Placement:
    """The record of a new task, and a bound and listening socket for each of its ports, in
    order."""

    record: TaskRecord
    sockets: list[socket.socket]

    def take_listener(self) -> socket.socket | None:
        """Return the socket of the first port, which the caller owns now; None without ports."""
        return self.sockets.pop(0) if self.sockets else None

    def take_all(self) -> tuple[socket.socket, ...]:
        """Return all sockets, which the caller owns now."""
        taken = tuple(self.sockets)
        self.sockets.clear()
        return taken

    def close(self) -> None:
        """Close the remaining sockets, so that the task can bind those ports itself."""
        for sock in self.sockets:
            sock.close()


class Placements:
    """Places tasks on this machine, `host`."""

    def __init__(
        self, resources: Resources, host: str, attributes: dict[str, str], policy: DockerPolicy
    ) -> None:
        self.host = host
        self._machine = {"hostname": host} | attributes
        self._resources = resources
        self._policy = policy

    def place(self, app: App) -> Placement:
        """Place one more task of `app`. Raises `NoRoom` with nothing taken."""
        check_placement(app.definition, self._machine, app.placed())
        self._policy.check(app.definition)
        record = _new_record(app)
        self._resources.take(record.id, app.definition)
        try:
            sockets = self._bind(app)
        except NoRoom:
            self.give_back(record.id)
            raise
        ports = tuple(sock.getsockname()[1] for sock in sockets)
        return Placement(replace(record, ports=ports), sockets)

    def wake(self, record: TaskRecord) -> None:
        """Take the share of an idle task, which has its ports. Raises `NoRoom`."""
        self._resources.take(record.id, {"cpus": record.cpus, "mem": record.mem})

    def reopen(self, record: TaskRecord) -> socket.socket:
        """Listen again on the port of an idle task. Raises `NoRoom` when it is in use."""
        return bind(self.host, record.ports[0])

    def adopt(self, record: TaskRecord) -> None:
        """Account for a running task of an earlier engine."""
        self._resources.adopt(record.id, record.cpus, record.mem)

    def give_back(self, task_id: str) -> None:
        """Release the share of a task; its ports are not affected."""
        self._resources.give_back(task_id)

    def _bind(self, app: App) -> list[socket.socket]:
        """Bind a socket for each port, preferably what an ended task of the app has left."""
        previous = app.inherited_ports.pop(0) if app.inherited_ports else ()
        bound = [app.inherited_listeners.pop(0)] if app.inherited_listeners else []
        try:
            for index, port in list(enumerate(ports_of(app.definition)))[len(bound) :]:
                bound.append(bind(self.host, port.host_port, previous[index : index + 1]))
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
