"""Tasks are forked from a zygote instead of executed, where nothing but the time tells."""

import asyncio
import base64
import functools
import os
import zlib
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fob.contract import COMMAND, FUNCTION
from fob.engine import programs
from fob.engine.runtime import task_environment
from fob.engine.runtime.launcher import Launch, OnExit, RunningProcess
from fob.engine.runtime.packing import Unpacker
from fob.engine.runtime.process_launcher import ProcessLauncher
from fob.engine.runtime.spares import Spares

# variables that act on a process when it starts, and on none that is forked
LOADING = ("LD_", "LC_", "GLIBC_", "MALLOC_")
MAX_ZYGOTES = 4  # zygotes at once
MAX_MESSAGE_BYTES = 128 * 1024  # above this a task is executed


@dataclass(frozen=True)
class Forkable:
    """A launch that a zygote can serve: its program, and the message for a child with the
    descriptors that go with it (see zygote.become)."""

    program: bytes
    message: bytes
    descriptors: tuple[int, ...]


def forkable(launch: Launch, unpacker: Unpacker) -> Forkable | None:
    """`launch` for a zygote; None when it has to be executed."""
    if launch.command != ["/bin/sh", "-c", COMMAND] or not _starts_alike(launch.environment):
        return None
    numbers = {name: str(number) for number, name in enumerate(launch.pass_fds, 3)}
    try:
        program, given = unpacker.unpack(launch.environment[FUNCTION])
        block = _block(launch.environment | numbers)
    except (KeyError, ValueError, zlib.error):
        return None
    message = b"%b\0%b\0\0%b" % (os.fsencode(launch.sandbox), block, given)
    if len(message) > MAX_MESSAGE_BYTES:
        return None
    return Forkable(program, message, (launch.stdout, launch.stderr, *launch.pass_fds.values()))


def _starts_alike(variables: dict[str, str]) -> bool:
    """Whether these leave a process the zygote's own Python, C library and locale."""
    alike = all(variables.get(name) == value for name, value in _zygote_variables().items())
    return alike and not any(name.startswith(LOADING) for name in variables)


@functools.cache
def _zygote_variables() -> dict[str, str]:
    return {"PATH": task_environment.python_path(), "LANG": task_environment.LANG}


def _block(variables: dict[str, str]) -> bytes:
    """`NAME=value` of each but the program, with NUL in between; ValueError when no process can
    have them, or the shell of one that is executed may not pass them on."""
    if not all(name.isascii() and name.isidentifier() for name in variables):
        raise ValueError("not the names of a shell's variables")
    if any("\0" in value for value in variables.values()):
        raise ValueError("not an environment")
    # first what an engine looks for in /proc/<pid>/environ, where there may not be room for all
    names = sorted(variables.keys() - {FUNCTION, "PWD"}, key=lambda n: n != "MESOS_TASK_ID")
    return b"\0".join(os.fsencode(f"{name}={variables[name]}") for name in names)


class ZygoteLauncher:
    """Forks what can be forked; executes the rest, and whatever comes while there is no zygote.

    There is one zygote for each program, started when the program is first seen, in `folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = ProcessLauncher()
        self._unpacker = Unpacker()
        self._spares: dict[bytes, Spares] = {}  # by program, the one used last at the end
        self._closing: set[asyncio.Task[None]] = set()

    def start(self, launch: Launch, on_exit: OnExit) -> RunningProcess:
        wanted = forkable(launch, self._unpacker)
        if wanted is not None:
            spares = self._spares_of(wanted.program)
            forked = spares.start(wanted.message, wanted.descriptors, on_exit)
            if forked is not None:
                return forked
        return self._process.start(launch, on_exit)

    def adopt(
        self, task_id: str, handle: dict[str, Any] | None, on_exit: OnExit
    ) -> RunningProcess | None:
        return self._process.adopt(task_id, handle, on_exit)

    async def close(self) -> None:
        for spares in self._spares.values():
            self._run(spares.close())
        self._spares.clear()
        await asyncio.gather(*self._closing)

    def _spares_of(self, program: bytes) -> Spares:
        spares = self._spares.pop(program, None) or Spares(self._zygote(), program)
        self._spares[program] = spares
        if len(self._spares) > MAX_ZYGOTES:
            oldest = next(iter(self._spares))
            self._run(self._spares.pop(oldest).close())
        return spares

    def _zygote(self) -> Launch:
        """What starts a zygote: the command line of its children, with another program."""
        source = Path(programs.__file__).with_name("zygote.py").read_bytes()
        packed = base64.b64encode(zlib.compress(source + b"\0")).decode()
        return Launch(
            task_id="zygote",
            command=["/bin/sh", "-c", COMMAND],
            environment=_zygote_variables() | {FUNCTION: packed},
            sandbox=self._folder,
            stdout=2,
            stderr=2,
        )

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
