"""Runs commands for the engine: within a folder, their output heard, and nothing of them left."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from fob.engine.runtime.launcher import Exit, Launch, LaunchFailed
from fob.engine.runtime.process_launcher import ProcessLauncher, leaders_with

CHUNK_BYTES = 2**16
MARK = "FOB_COMMAND_OF"  # in a command's environment: the folder of the engine that runs it

OnOutput = Callable[[bytes], None]


class CommandFailed(Exception):
    """How it ended, if not well."""


class Commands:
    """Runs commands for the engine whose state is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._mark = {MARK: str(folder)}

    async def run(
        self, command: Sequence[str], variables: dict[str, str], folder: Path, say: OnOutput
    ) -> None:
        """Run it to its end, or until this is cancelled. Raises `CommandFailed`."""
        try:
            async with running(list(command), variables | self._mark, folder, say) as ended:
                await asyncio.wait({ended})
        except LaunchFailed as error:
            raise CommandFailed(str(error)) from error
        if ended.result().code != 0:
            raise CommandFailed(str(ended.result()))

    def stop_orphans(self) -> None:
        """Kill what an earlier engine was running when it was killed itself."""
        for name, value in self._mark.items():
            for pid in leaders_with(name, value):
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)


@asynccontextmanager
async def running(
    command: list[str], variables: dict[str, str], folder: Path, say: OnOutput
) -> AsyncIterator["asyncio.Future[Exit]"]:
    """Run the command; how it ends is the future. It and its group have ended when the context
    does. What it prints goes to `say`. Raises `LaunchFailed`.
    """
    ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    with _output(say) as fd:
        launch = Launch("", command, variables, folder, stdout=fd, stderr=fd)
        process = ProcessLauncher().start(launch, ended.set_result)
        try:
            yield ended
        finally:
            process.stop(signal.SIGKILL)
            await asyncio.wait({ended})


@contextmanager
def _output(say: OnOutput) -> Iterator[int]:
    """A descriptor; what is written to it goes to `say`."""
    loop = asyncio.get_running_loop()
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    loop.add_reader(ours, _pass_on, ours, say)
    try:
        yield theirs
    finally:
        while _pass_on(ours, say):
            pass
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


def _pass_on(fd: int, say: OnOutput) -> bool:
    """Take one chunk; False when there is none now."""
    try:
        say(os.read(fd, CHUNK_BYTES))
    except BlockingIOError:
        return False
    return True
