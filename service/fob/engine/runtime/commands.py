"""Run commands for the engine and read their output; a command leaves no process behind."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from fob.engine.runtime.launcher import Exit, Launch, LaunchFailed
from fob.engine.runtime.process_launcher import ProcessLauncher, leaders_with

CHUNK_BYTES = 2**16
OWNER = "FOB_COMMAND_OF"  # in a command's environment: the state folder of the engine

OnOutput = Callable[[bytes], None]


class CommandFailed(Exception):
    """How the command ended, if not with status 0."""


class Commands:
    """Runs commands for the engine that has its state in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._owner = {OWNER: str(folder)}

    async def run(
        self, command: Sequence[str], variables: dict[str, str], folder: Path, on_output: OnOutput
    ) -> None:
        """Run `command` in `folder` to its end, or until this is cancelled.

        Raises `CommandFailed`.
        """
        environment = variables | self._owner
        try:
            async with running_command(list(command), environment, folder, on_output) as ended:
                await asyncio.wait({ended})
        except LaunchFailed as error:
            raise CommandFailed(str(error)) from error
        if ended.result().code != 0:
            raise CommandFailed(str(ended.result()))

    def kill_orphans(self) -> None:
        """Kill the commands of an earlier engine that was killed itself."""
        for name, value in self._owner.items():
            for pid in leaders_with(name, value):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)


@asynccontextmanager
async def running_command(
    command: list[str], variables: dict[str, str], folder: Path, on_output: OnOutput
) -> AsyncIterator["asyncio.Future[Exit]"]:
    """Run a command within the context; the future is its exit.

    At the end of the context the command and its process group are killed and have ended.
    `on_output` gets what they print. Raises `LaunchFailed`.
    """
    ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    with _pipe_to(on_output) as fd:
        launch = Launch("", command, variables, folder, stdout=fd, stderr=fd)
        process = ProcessLauncher().start(launch, ended.set_result)
        try:
            yield ended
        finally:
            process.stop(signal.SIGKILL)
            await asyncio.wait({ended})


@contextmanager
def _pipe_to(on_output: OnOutput) -> Iterator[int]:
    """A descriptor; `on_output` gets what is written to it."""
    loop = asyncio.get_running_loop()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    loop.add_reader(reader, _read_chunk, reader, on_output)
    try:
        yield writer
    finally:
        while _read_chunk(reader, on_output):
            pass
        loop.remove_reader(reader)
        os.close(reader)
        os.close(writer)


def _read_chunk(fd: int, on_output: OnOutput) -> bool:
    """Read one chunk; return False when there is none now."""
    try:
        on_output(os.read(fd, CHUNK_BYTES))
    except BlockingIOError:
        return False
    return True
