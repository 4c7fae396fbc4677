"""Where a task goes: its share of the machine, its ports, and the record that says so."""

import socket
import uuid
from dataclasses import dataclass, replace

from fob.engine.definitions.containers import ports_of
from fob.engine.runtime.docker.policy import DockerPolicy
from fob.engine.runtime.resources import (
    NoRoom,
    Resources,
    bind,
    check_placement,
)
from fob.engine.states import TaskState
from fob.engine.store.records import TaskRecord
from fob.engine.tasks.app import App
from fob.timeline import utc_now


@dataclass(frozen=True)
class Placement:
    """A task's record, and its ports held by `sockets` in order."""

    record: TaskRecord
    sockets: list[socket.socket]

    def listener(self) -> socket.socket | None:
        """The listening socket that the task takes, now the caller's; None when the app wants no
        port."""
        return self.sockets.pop(0) if self.sockets else None

    def hand_over(self) -> tuple[socket.socket, ...]:
        """All its ports, now the caller's."""
        handed = tuple(self.sockets)
        self.sockets.clear()
        return handed

    def close(self) -> None:
        """Let go of the other ports: the task binds those itself."""
        for sock in self.sockets:
            sock.close()


class Placements:
    """Gives out places on this machine."""

    def __init__(
        self, resources: Resources, host: str, attributes: dict[str, str], policy: DockerPolicy
    ) -> None:
        self.host = host
        self._machine = {"hostname": host} | attributes
        self._resources = resources
        self._policy = policy

    def take(self, app: App) -> Placement:
        """A place for one more task of `app`. Raises `NoRoom` with nothing taken."""
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
        """Its share again for a task that has its ports. Raises `NoRoom` with nothing taken."""
        self._resources.take(record.id, {"cpus": record.cpus, "mem": record.mem})

    def reopen(self, record: TaskRecord) -> socket.socket:
        """The port of a task that an earlier engine placed. Raises `NoRoom` when it is taken."""
        return bind(self.host, record.ports[0])

    def adopt(self, record: TaskRecord) -> None:
        """Enter a task that an earlier engine placed."""
        self._resources.adopt(record.id, record.cpus, record.mem)

    def give_back(self, task_id: str) -> None:
        self._resources.give_back(task_id)

    def _bind(self, app: App) -> list[socket.socket]:
        before = app.ports_before.pop(0) if app.ports_before else ()
        bound = [app.listeners.pop(0)] if app.listeners else []
        try:
            for index, asked in list(enumerate(ports_of(app.definition)))[len(bound) :]:
                bound.append(bind(self.host, asked.host_port, before[index : index + 1]))
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
