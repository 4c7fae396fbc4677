"""Rules of every launcher of processes: the same for executed and forked tasks."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import launching
import pytest
from launching import Bench, gone, until

from fob.engine.definitions import app_definitions
from fob.engine.definitions.containers import container_of
from fob.engine.runtime.launcher import Exit, Launch, LaunchFailed
from fob.engine.runtime.process_launcher import ProcessLauncher
from fob.engine.runtime.selection import SelectedLauncher

SLEEP = "import time; time.sleep(1000)"
WITH_IMAGE = {"id": "/a", "container": {"type": "DOCKER", "docker": {"image": "x"}}}
# a child, and its pid in a file once it runs
CHILD = (
    "import subprocess\n"
    "child = subprocess.Popen(['sleep', '1000'])\n"
    "with open('new', 'w') as file: file.write(str(child.pid))\n"
    "import os; os.rename('new', 'child')\n"
)

Run = Callable[[Callable[[Bench], Awaitable[None]]], None]


@pytest.fixture(params=["process", "zygote"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Run the body of a test with a launcher."""
    return partial(launching.run, request.param, tmp_path)


@pytest.mark.parametrize(
    ("given", "expected", "words"),
    [
        ("", Exit(code=0), "exited with status 0"),
        ("raise SystemExit(7)", Exit(code=7), "exited with status 7"),
        ("import os; os._exit(255)", Exit(code=255), "exited with status 255"),
        ("1/0", Exit(code=1), "exited with status 1"),
        ("import os; os.kill(os.getpid(), 9)", Exit(signal=9), "was killed by SIGKILL"),
        ("import os; os.kill(os.getpid(), 35)", Exit(signal=35), "was killed by signal 35"),
        ("import os; os.abort()", Exit(signal=6), "was killed by SIGABRT"),
    ],
)
def test_an_exit_is_reported_with_its_code_or_signal(
    run: Run, given: str, expected: Exit, words: str
) -> None:
    async def body(bench: Bench) -> None:
        bench.start(given)
        ended = await bench.exit()
        assert ended == expected
        assert str(ended) == words

    run(body)


def test_an_unhandled_error_is_printed(run: Run) -> None:
    async def body(bench: Bench) -> None:
        bench.start("1/0")
        await bench.exit()
        assert bench.printed("stderr").startswith("Traceback (most recent call last):\n")
        assert bench.printed("stderr").endswith("ZeroDivisionError: division by zero\n")

    run(body)


def test_functions_registered_with_atexit_run(run: Run) -> None:
    async def body(bench: Bench) -> None:
        given = "import atexit; atexit.register(print, 'last'); print('first', end=' ')"
        assert await bench.output_of(given) == "first last\n"

    run(body)


def test_a_command_that_does_not_exist_fails_to_launch(run: Run, tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        launch = Launch("t.1", ["/no/such/command"], {}, tmp_path, 2, 2)
        with pytest.raises(LaunchFailed, match="could not be started"):
            bench.launcher.start(launch, bench.ended.set_result)

    run(body)


@pytest.mark.parametrize("wrong", [{"A": "nul\0"}, {"A": "\ud800"}, {"A=B": ""}])
def test_an_invalid_environment_fails_to_launch(run: Run, wrong: dict[str, str]) -> None:
    async def body(bench: Bench) -> None:
        with pytest.raises(LaunchFailed, match="could not be started"):
            bench.start("", **wrong)

    run(body)


def test_a_task_runs_under_the_batch_scheduling_policy(run: Run) -> None:
    async def body(bench: Bench) -> None:
        printed = await bench.output_of(
            "import os, time; time.sleep(0.1); print(os.sched_getscheduler(0))"
        )
        assert int(printed) == os.SCHED_BATCH

    run(body)


def test_stopping_reaches_the_whole_group(run: Run, tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        running = bench.start(CHILD + SLEEP)
        child = tmp_path / "child"
        await until(child.exists)
        running.stop(signal.SIGKILL)
        assert await bench.exit() == Exit(signal=9)
        assert await gone(int(child.read_text()))

    run(body)


def test_stopping_reaches_a_process_that_has_just_started(run: Run) -> None:
    async def body(bench: Bench) -> None:
        for _ in range(5):
            bench.start(SLEEP).stop(signal.SIGTERM)
            assert await bench.exit() == Exit(signal=15)

    run(body)


def test_the_children_of_a_task_end_with_it(run: Run, tmp_path: Path) -> None:
    async def body(bench: Bench) -> None:
        await bench.output_of(CHILD + "os._exit(0)")
        assert await gone(int((tmp_path / "child").read_text()))

    run(body)


def test_stopping_a_process_that_has_ended_does_nothing(run: Run) -> None:
    async def body(bench: Bench) -> None:
        running = bench.start("")
        await bench.exit()
        running.stop(signal.SIGKILL)

    run(body)


def test_a_process_is_adopted_by_its_handle(run: Run) -> None:
    async def body(bench: Bench) -> None:
        running = bench.start(SLEEP)
        running.release()
        adopted = bench.launcher.adopt("t.1", running.handle, bench.ended.set_result)
        assert adopted is not None
        adopted.stop(signal.SIGTERM)
        assert await bench.exit() == Exit(signal=15)

    run(body)


def test_another_process_with_the_same_pid_is_not_adopted(run: Run) -> None:
    async def body(bench: Bench) -> None:
        running = bench.start(SLEEP)
        for other in ({"started": 1}, {"boot": "another"}):
            handle: dict[str, Any] = running.handle | other
            assert bench.launcher.adopt("t.1", handle, bench.ended.set_result) is None
        running.stop(signal.SIGKILL)
        await bench.exit()

    run(body)


def test_a_process_without_a_handle_is_found_by_its_task_id(run: Run) -> None:
    async def body(bench: Bench) -> None:
        running = bench.start("print(1, flush=True);" + SLEEP, MESOS_TASK_ID="t.1")
        await until(bench.printed)
        running.release()
        adopted = bench.launcher.adopt("t.1", None, bench.ended.set_result)
        assert adopted is not None
        assert adopted.handle == running.handle
        adopted.stop(signal.SIGKILL)
        await bench.exit()

    run(body)


def test_a_process_that_is_gone_is_not_adopted(run: Run) -> None:
    async def body(bench: Bench) -> None:
        running = bench.start("", MESOS_TASK_ID="t.1")
        await bench.exit()
        for handle in (running.handle, None):
            assert bench.launcher.adopt("t.1", handle, bench.ended.set_result) is None

    run(body)


def test_a_label_selects_the_launcher_except_for_containers(tmp_path: Path) -> None:
    class Named(ProcessLauncher):
        def __init__(self, name: str) -> None:
            self.name = name

        def start(self, launch: Launch, on_exit: Any) -> Any:
            started.append(self.name)

    started: list[str] = []
    one, two, docker = (Named(name) for name in ("one", "two", "docker"))
    selected = SelectedLauncher({"one": one, "two": two}, "two", docker)
    for name in ("one", "two", "", "docker"):
        selected.start(Launch("t.1", [], {}, tmp_path, 1, 2, launcher=name), print)
    assert started == ["one", "two", "two", "two"]
    image = container_of(app_definitions.complete(WITH_IMAGE), (1,))
    selected.start(Launch("t.1", [], {}, tmp_path, 1, 2, launcher="one", container=image), print)
    assert started[-1] == "docker"
    asyncio.run(selected.close())
    assert os.listdir(tmp_path) == []
