"""A launcher under test, and the Python programs that it starts."""

import asyncio
import base64
import os
import zlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import live
from fob.contract import COMMAND
from fob.engine.runtime import task_environment
from fob.engine.runtime.launcher import (
    Exit,
    Launch,
    Launcher,
    RunningProcess,
)
from fob.engine.runtime.process_launcher import ProcessLauncher, identity
from fob.engine.runtime.zygote_launcher import ZygoteLauncher

# the smallest program: it runs its snippet
PROGRAM = b"if __name__ == '__main__':\n    exec(SNIPPET)\n"
FORKED = "import gc; print('forked' if gc.get_freeze_count() else 'executed', flush=True)"
PATIENCE = 10.0  # seconds


def packed(program: bytes, given: str) -> str:
    """FOB_FUNCTION with `program` and the snippet `given`."""
    return base64.b64encode(zlib.compress(program + b"\0" + given.encode())).decode()


class Bench:
    """A launcher, and the exit of the process that it started last."""

    def __init__(self, launcher: Launcher, folder: Path) -> None:
        self.launcher = launcher
        self.folder = folder
        self.program = PROGRAM
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    def start(
        self, given: str, passed: Mapping[str, int] | None = None, **env: str
    ) -> RunningProcess:
        """Start a process that runs the Python lines `given`, with its output in two files."""
        self.ended = asyncio.get_running_loop().create_future()
        variables = {
            "PATH": task_environment.python_path(),
            "LANG": task_environment.LANG,
            "FOB_FUNCTION": packed(self.program, given),
        }
        outputs = [os.open(self.folder / name, FLAGS, 0o600) for name in ("stdout", "stderr")]
        try:
            return self.launcher.start(
                Launch(
                    task_id="t.1",
                    command=["/bin/sh", "-c", COMMAND],
                    environment=variables | env,
                    sandbox=self.folder,
                    stdout=outputs[0],
                    stderr=outputs[1],
                    pass_fds=passed or {},
                ),
                self.ended.set_result,
            )
        finally:
            for fd in outputs:
                os.close(fd)

    async def exit(self) -> Exit:
        return await asyncio.wait_for(self.ended, PATIENCE)

    async def output_of(self, given: str, **options: Any) -> str:
        """What a process that runs `given` prints until it exits with status 0."""
        self.start(given, **options)
        ended = await self.exit()
        assert ended == Exit(code=0), f"{ended}: {self.printed('stderr')}"
        return self.printed("stdout")

    def printed(self, name: str = "stdout") -> str:
        return (self.folder / name).read_text()

    async def until_it_forks(self) -> None:
        for _ in range(500):
            if await self.output_of(FORKED) == "forked\n":
                return
            await asyncio.sleep(0.02)
        raise AssertionError("the launcher does not fork")


FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
LAUNCHERS: dict[str, Callable[[Path], Launcher]] = {
    "process": lambda folder: ProcessLauncher(),
    "zygote": ZygoteLauncher,
}


def run(name: str, folder: Path, body: Callable[[Bench], Awaitable[None]]) -> None:
    """Run `body` with the launcher of that name; its zygote, if it has one, is ready."""

    async def go() -> None:
        bench = Bench(LAUNCHERS[name](folder), folder)
        try:
            if name == "zygote":
                await bench.until_it_forks()
            await body(bench)
        finally:
            await bench.launcher.close()

    asyncio.run(go())


async def until(check: Callable[[], Any]) -> Any:
    """What `check` returns once that is true; the loop goes on in the meantime."""
    return await asyncio.to_thread(live.until, check)


async def gone(pid: int) -> bool:
    """True once `pid` has ended, whether it has been reaped or not."""
    return bool(await until(lambda: identity(pid)["started"] is None))
