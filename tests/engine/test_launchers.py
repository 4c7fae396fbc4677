import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import live
from fob.engine import launchers
from fob.engine.launchers import Exit, Launch, LaunchFailed, ProcessLauncher, Running


class Watched:
    """A launcher and what it told of one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launcher = ProcessLauncher()
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    def start(self, *command: str, **environment: str) -> Running:
        null = os.open(os.devnull, os.O_RDWR)
        try:
            launch = Launch("t.1", list(command), environment, self.folder, null, null)
            return self.launcher.start(launch, self.ended.set_result)
        finally:
            os.close(null)

    async def exit(self) -> Exit:
        return await asyncio.wait_for(self.ended, 10)


def run(folder: Path, body: Callable[[Watched], Awaitable[None]]) -> None:
    async def go() -> None:
        await body(Watched(folder))

    asyncio.run(go())


@pytest.mark.parametrize(
    ("command", "expected", "words"),
    [
        ("exit 0", Exit(code=0), "exited with status 0"),
        ("exit 7", Exit(code=7), "exited with status 7"),
        ("kill -9 $$", Exit(signal=9), "was killed by SIGKILL"),
        ("kill -35 $$", Exit(signal=35), "was killed by signal 35"),
    ],
)
def test_an_exit_is_told_as_it_was(
    tmp_path: Path, command: str, expected: Exit, words: str
) -> None:
    async def body(watched: Watched) -> None:
        watched.start("/bin/sh", "-c", command)
        ended = await watched.exit()
        assert ended == expected
        assert str(ended) == words

    run(tmp_path, body)


def test_a_command_that_does_not_exist_fails_to_launch(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        with pytest.raises(LaunchFailed, match="could not be started"):
            watched.start("/no/such/command")

    run(tmp_path, body)


def test_stopping_reaches_the_whole_group(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        running = watched.start("/bin/sh", "-c", "sleep 1000 & echo $! > child; wait")
        child = tmp_path / "child"
        await asyncio.to_thread(live.until, lambda: child.exists() and child.read_text())
        running.stop(signal.SIGKILL)
        await watched.exit()
        assert await gone(int(child.read_text()))

    run(tmp_path, body)


def test_what_a_task_started_ends_with_it(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        watched.start("/bin/sh", "-c", "sleep 1000 & echo $! > child; exit 0")
        await watched.exit()
        assert await gone(int((tmp_path / "child").read_text()))

    run(tmp_path, body)


def test_stopping_what_has_ended_does_nothing(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        running = watched.start("/bin/true")
        await watched.exit()
        running.stop(signal.SIGKILL)

    run(tmp_path, body)


def test_a_process_is_adopted_by_its_handle(tmp_path: Path) -> None:
    async def body(first: Watched) -> None:
        running = first.start("/bin/sleep", "1000")
        handle = running.handle
        running.release()
        second = Watched(tmp_path)
        adopted = second.launcher.adopt("t.1", handle, second.ended.set_result)
        assert adopted is not None
        adopted.stop(signal.SIGTERM)
        assert (await second.exit()).signal == signal.SIGTERM

    run(tmp_path, body)


def test_another_process_with_the_same_pid_is_not_adopted(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        running = watched.start("/bin/sleep", "1000")
        for other in ({"started": 1}, {"boot": "another"}):
            handle: dict[str, Any] = running.handle | other
            assert watched.launcher.adopt("t.1", handle, watched.ended.set_result) is None
        running.stop(signal.SIGKILL)
        await watched.exit()

    run(tmp_path, body)


def test_a_process_without_a_handle_is_found_by_its_task_id(tmp_path: Path) -> None:
    async def body(first: Watched) -> None:
        running = first.start("/bin/sleep", "1000", MESOS_TASK_ID="t.1")
        running.release()
        second = Watched(tmp_path)
        adopted = second.launcher.adopt("t.1", None, second.ended.set_result)
        assert adopted is not None
        assert adopted.handle == running.handle
        adopted.stop(signal.SIGKILL)
        await second.exit()

    run(tmp_path, body)


def test_a_process_that_is_gone_is_not_adopted(tmp_path: Path) -> None:
    async def body(watched: Watched) -> None:
        running = watched.start("/bin/true")
        await watched.exit()
        for handle in (running.handle, None):
            assert watched.launcher.adopt("t.1", handle, watched.ended.set_result) is None

    run(tmp_path, body)


async def gone(pid: int) -> bool:
    """True once `pid` has ended (whoever has to reap it)."""
    for _ in range(500):
        if launchers.identity(pid)["started"] is None:
            return True
        await asyncio.sleep(0.01)
    return False
