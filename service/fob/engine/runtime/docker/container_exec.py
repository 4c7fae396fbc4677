"""Run commands in running containers (`docker exec`)."""

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fob.engine.runtime.commands import CommandFailed, OnOutput
from fob.engine.runtime.docker import threads
from fob.engine.runtime.docker.container_config import container_name
from fob.engine.runtime.docker.host import DockerError, DockerHost, DockerUnreachable
from fob.engine.runtime.docker.output import frames

if TYPE_CHECKING:
    from docker import APIClient

# Docker cannot kill what it has started by exec, and an image may contain no program except a
# shell. So the shell, which leads a process group as Docker starts it, kills that group when its
# standard input ends: the connection was closed, or the engine has died. It waits for a first line,
# which is sent once the connection is attached, so that no output is missed.
_SCRIPT = (
    "read -r begin || exit; exec 3<&0 </dev/null; "
    "{ read -r end <&3; kill -9 -$$; } >/dev/null 2>&1 & "
    '/bin/sh -c "$0" 3<&-; status=$?; kill -9 $!; exit $status'
)
_SLACK_SECONDS = 2  # for Docker, in addition to the time of the command
_POLL_SECONDS = 0.02  # between two requests for the exit status
MAX_OUTPUT_TAIL_BYTES = 2**16


class ContainerExec:
    """Runs commands in containers of `host`."""

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    async def run(self, task_id: str, command: str, seconds: float, on_output: OnOutput) -> None:
        """Run `command` with the container's shell, for at most `seconds`; `on_output` gets the end
        of its output.

        After that time, or when the engine dies, it is killed with all that it started. Raises
        `CommandFailed`.
        """
        name = container_name(task_id)
        code, output = await threads.run("exec", lambda: self._run(name, command, seconds))
        on_output(output)
        if code != 0:
            raise CommandFailed(f"exited with status {code}")

    def _run(self, name: str, command: str, seconds: float) -> tuple[int, bytes]:
        try:
            with self._host.client(timeout=int(seconds) + _SLACK_SECONDS) as client:
                return _exec(client, name, command, time.monotonic() + seconds)
        except (DockerUnreachable, DockerError) as error:
            raise CommandFailed(f"could not be run: {error}") from error


def _exec(client: "APIClient", name: str, command: str, until: float) -> tuple[int, bytes]:
    id_ = client.exec_create(name, ["/bin/sh", "-c", _SCRIPT, command], stdin=True)["Id"]
    try:
        with _attached(client, id_, until) as attached:
            output = b""
            for _, data in frames(attached):
                output = (output + data)[-MAX_OUTPUT_TAIL_BYTES:]
        return _status(client, id_, until), output
    except TimeoutError as error:  # of the command: not to be taken for an error of Docker's
        raise CommandFailed("took too long") from error


def _status(client: "APIClient", id_: str, until: float) -> int:
    """The exit status, which Docker may know only a moment after the end of the output."""
    while (code := client.exec_inspect(id_)["ExitCode"]) is None:
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(_POLL_SECONDS)
    return int(code)


@contextmanager
def _attached(client: "APIClient", id_: str, until: float) -> Iterator["_Attached"]:
    """The connection to the command, which starts now; the command ends with the context."""
    connection = client.exec_start(id_, socket=True)
    sock: Any = getattr(connection, "_sock", connection)  # some transports wrap it
    try:
        sock.sendall(b"begin\n")
        yield _Attached(sock, until)
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        connection.close()


class _Attached:
    """Reads from `sock`. Raises `TimeoutError` after `until` (monotonic seconds)."""

    def __init__(self, sock: Any, until: float) -> None:
        self._sock = sock
        self._until = until

    def read(self, size: int) -> bytes:
        """Read `size` bytes; fewer at the end."""
        data = b""
        while len(data) < size and (chunk := self._chunk(size - len(data))):
            data += chunk
        return data

    def _chunk(self, size: int) -> bytes:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        chunk: bytes = self._sock.recv(size)
        return chunk
