"""Runs commands in the containers of tasks that run."""

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fob.engine.runtime.commands import CommandFailed, OnOutput
from fob.engine.runtime.docker import threads
from fob.engine.runtime.docker.host import DockerError, DockerHost, DockerUnreachable
from fob.engine.runtime.docker.output import frames

if TYPE_CHECKING:
    from docker import APIClient

# Docker ends nothing that it has begun in a container, and an image may have no program but a
# shell. So it is the shell that kills all that it has started, when its standard input ends: when
# the connection is closed, or the engine is dead. It begins at a word, before which nothing can be
# said that nobody hears. As Docker starts it, it leads a group of its own.
_GUARDED = (
    "read -r begin || exit; exec 3<&0 </dev/null; "
    "{ read -r end <&3; kill -9 -$$; } >/dev/null 2>&1 & "
    '/bin/sh -c "$0" 3<&-; status=$?; kill -9 $!; exit $status'
)
_SLACK_SECONDS = 2  # for Docker, beyond what the command may take
_ENDED_EVERY = 0.02  # seconds, between two questions whether it has ended
OUTPUT_BYTES = 2**16  # of the end of what it says


def container_name(task_id: str) -> str:
    """The name of a task's container."""
    return f"fob-{task_id.rpartition('.')[2]}"


class ContainerExec:
    """Containers of `host`."""

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    async def run(self, task_id: str, command: str, seconds: float, say: OnOutput) -> None:
        """Run `command` by the container's shell, for at most so many seconds; it is killed then
        with all that it started, and so it is when the engine dies. Raises `CommandFailed`."""
        name = container_name(task_id)
        code, output = await threads.outcome("exec", lambda: self._run(name, command, seconds))
        say(output)
        if code != 0:
            raise CommandFailed(f"exited with status {code}")

    def _run(self, name: str, command: str, seconds: float) -> tuple[int, bytes]:
        try:
            with self._host.client(timeout=int(seconds) + _SLACK_SECONDS) as client:
                return _exec(client, name, command, time.monotonic() + seconds)
        except (DockerUnreachable, DockerError) as error:
            raise CommandFailed(f"could not be run: {error}") from error


def _exec(client: "APIClient", name: str, command: str, until: float) -> tuple[int, bytes]:
    id_ = client.exec_create(name, ["/bin/sh", "-c", _GUARDED, command], stdin=True)["Id"]
    try:
        with _attached(client, id_, until) as attached:
            output = b""
            for _, said in frames(attached):
                output = (output + said)[-OUTPUT_BYTES:]
        return _status(client, id_, until), output
    except TimeoutError as error:  # which says nothing about Docker
        raise CommandFailed("took too long") from error


def _status(client: "APIClient", id_: str, until: float) -> int:
    """How it has ended; Docker may know that a moment after it has said its last."""
    while (code := client.exec_inspect(id_)["ExitCode"]) is None:
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(_ENDED_EVERY)
    return int(code)


@contextmanager
def _attached(client: "APIClient", id_: str, until: float) -> Iterator["_Attached"]:
    """The connection to the command, which begins, and ends with this at the latest."""
    connection = client.exec_start(id_, socket=True)
    sock: Any = getattr(connection, "_sock", connection)  # it is wrapped, for some ways to Docker
    try:
        sock.sendall(b"begin\n")
        yield _Attached(sock, until)
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        connection.close()


class _Attached:
    """What comes over `sock`. Raises `TimeoutError` from the moment `until` (monotonic) on."""

    def __init__(self, sock: Any, until: float) -> None:
        self._sock = sock
        self._until = until

    def read(self, size: int) -> bytes:
        """So many bytes; fewer at the end."""
        data = b""
        while len(data) < size and (piece := self._piece(size - len(data))):
            data += piece
        return data

    def _piece(self, size: int) -> bytes:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        piece: bytes = self._sock.recv(size)
        return piece
