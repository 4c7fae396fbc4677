"""Fork tasks from a zygote instead of executing them: faster, and otherwise the same to a task."""

import asyncio
import base64
import functools
import os
import re
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

# Prefixes of variables that the loader and the C library read when a process is executed. They
# would have no effect on a forked one.
EXEC_PREFIXES = ("LD_", "LC_", "GLIBC_", "MALLOC_")
MAX_ZYGOTES = 4  # one for each program
MAX_MESSAGE_BYTES = 128 * 1024  # a larger task is executed; Linux's send buffers have 208 KiB

_COMMENT_LINE = re.compile(rb"^ *#.*$", re.MULTILINE)  # leaves an empty line, so numbers stay


@dataclass(frozen=True)
class Forkable:
    """A launch that a zygote can serve: the program to have loaded, the message for a child, and
    the descriptors that go with it (see zygote.receive_task)."""

    program: bytes
    message: bytes
    descriptors: tuple[int, ...]


def forkable(launch: Launch, unpacker: Unpacker) -> Forkable | None:
    """`launch` for a zygote; None when it has to be executed."""
    if launch.command != ["/bin/sh", "-c", COMMAND] or not _is_like_zygote(launch.environment):
        return None
    # a child has them as 1, 2, 3 ...: standard output, standard error, then these
    numbers = {name: str(number) for number, name in enumerate(launch.pass_fds, 3)}
    try:
        program, snippet = unpacker.unpack(launch.environment[FUNCTION])
        block = _environment_block(launch.environment | numbers)
    except (KeyError, ValueError, zlib.error):
        return None
    message = b"%b\0%b\0\0%b" % (os.fsencode(launch.sandbox), block, snippet)
    if len(message) > MAX_MESSAGE_BYTES:
        return None
    return Forkable(program, message, (launch.stdout, launch.stderr, *launch.pass_fds.values()))


def _is_like_zygote(variables: dict[str, str]) -> bool:
    """Whether exec with these variables gives the Python, C library and locale of a zygote."""
    same = all(variables.get(name) == value for name, value in _zygote_variables().items())
    return same and not any(name.startswith(EXEC_PREFIXES) for name in variables)


@functools.cache
def _zygote_variables() -> dict[str, str]:
    return {"PATH": task_environment.python_path(), "LANG": task_environment.LANG}


def _environment_block(variables: dict[str, str]) -> bytes:
    """`NAME=value` of each variable except the function, separated by NUL.

    Raises ValueError when exec could not pass them, or the shell in between might drop some: then
    only exec can show what happens.
    """
    if not all(name.isascii() and name.isidentifier() for name in variables):
        raise ValueError("not the names of a shell's variables")
    if any("\0" in value for value in variables.values()):
        raise ValueError("a variable contains NUL")
    # MESOS_TASK_ID first: an engine looks for it in /proc/<pid>/environ, where all may not fit
    names = sorted(variables.keys() - {FUNCTION, "PWD"}, key=lambda n: n != "MESOS_TASK_ID")
    return b"\0".join(os.fsencode(f"{name}={variables[name]}") for name in names)


class ZygoteLauncher:
    """Forks what can be forked, and executes everything else, also while no zygote is ready.

    There is one zygote for each program, started in `folder` when the program is first seen.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = ProcessLauncher()
        self._unpacker = Unpacker()
        self._spares: dict[bytes, Spares] = {}  # by program, the most recently used last
        self._closing: set[asyncio.Task[None]] = set()

    def start(self, launch: Launch, on_exit: OnExit) -> RunningProcess:
        request = forkable(launch, self._unpacker)
        if request is not None:
            spares = self._spares_of(request.program)
            forked = spares.start(request.message, request.descriptors, on_exit)
            if forked is not None:
                return forked
        return self._process.start(launch, on_exit)

    def adopt(
        self, task_id: str, handle: dict[str, Any] | None, on_exit: OnExit
    ) -> RunningProcess | None:
        return self._process.adopt(task_id, handle, on_exit)

    async def close(self) -> None:
        for spares in self._spares.values():
            self._in_background(spares.close())
        self._spares.clear()
        await asyncio.gather(*self._closing)

    def _spares_of(self, program: bytes) -> Spares:
        spares = self._spares.pop(program, None) or Spares(self._zygote(), program)
        self._spares[program] = spares
        if len(self._spares) > MAX_ZYGOTES:
            oldest = next(iter(self._spares))
            self._in_background(self._spares.pop(oldest).close())
        return spares

    def _zygote(self) -> Launch:
        """The launch of a zygote. It has the command line of its children, so its source takes the
        place of the program there; the program itself comes by a descriptor."""
        source = Path(programs.__file__).with_name("zygote.py").read_bytes()
        # without comments: the value stays in the memory that every child writes to (see
        # zygote.ShownEnvironment), so each page of it is copied for each child
        source = _COMMENT_LINE.sub(b"", source)
        packed = base64.b64encode(zlib.compress(source + b"\0")).decode()
        return Launch(
            task_id="zygote",
            command=["/bin/sh", "-c", COMMAND],
            environment=_zygote_variables() | {FUNCTION: packed},
            sandbox=self._folder,
            stdout=2,
            stderr=2,
        )

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
