"""Runs commands in the containers of tasks that run."""

from typing import TYPE_CHECKING

from fob.engine.docker import threads
from fob.engine.docker.host import DockerGone, DockerHost, DockerRefused
from fob.engine.launchers.commands import CommandFailed, Say

if TYPE_CHECKING:
    from docker import APIClient

# Docker ends nothing that it has begun in a container; most images have a `timeout` that does
_LIMITED = (
    'if command -v timeout >/dev/null; then exec timeout -s KILL "$1" /bin/sh -c "$0"; fi; '
    'exec /bin/sh -c "$0"'
)
_SLACK_SECONDS = 2  # for Docker, beyond what the command may take


def container_name(task_id: str) -> str:
    """The name of a task's container."""
    return f"fob-{task_id.rpartition('.')[2]}"


class Inside:
    """Containers of `host`."""

    def __init__(self, host: DockerHost) -> None:
        self._host = host

    async def run(self, task_id: str, command: str, seconds: float, say: Say) -> None:
        """Run `command` by the container's shell, for at most so many seconds. Raises
        `CommandFailed`."""
        name = container_name(task_id)
        code, output = await threads.outcome("exec", lambda: self._run(name, command, seconds))
        say(output)
        if code != 0:
            raise CommandFailed(f"exited with status {code}")

    def _run(self, name: str, command: str, seconds: float) -> tuple[int, bytes]:
        shell = ["/bin/sh", "-c", _LIMITED, command, f"{seconds:g}"]
        try:
            with self._host.client(timeout=int(seconds) + _SLACK_SECONDS) as client:
                return _exec(client, name, shell)
        except (DockerGone, DockerRefused) as error:
            raise CommandFailed(f"could not be run: {error}") from error


def _exec(client: "APIClient", name: str, command: list[str]) -> tuple[int, bytes]:
    made = client.exec_create(name, command)
    output = client.exec_start(made["Id"])
    return int(client.exec_inspect(made["Id"])["ExitCode"]), output
