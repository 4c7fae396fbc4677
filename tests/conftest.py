"""Fixtures for all tests, and the check that each leaves nothing behind."""

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import docker_engine
import live


def pytest_collection_finish() -> None:
    """Set the collected tests aside: `gc.collect()` after each test would walk all of them, which
    took 92 ms of CPU per test, more than most tests take themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path: Path) -> Iterator[None]:
    """No process, thread or file descriptor of a test outlives it."""
    before = _held()
    newest = _newest_pid()
    yield
    gc.collect()
    deadline = time.monotonic() + 5
    while (left := _left(before, newest, tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"the test left behind: {left}"


def _newest_pid() -> str:
    """The last pid that the kernel gave out, to a process or a thread."""
    return Path("/proc/loadavg").read_text().split()[-1]


def _held() -> tuple[set[threading.Thread], int]:
    return set(threading.enumerate()), len(os.listdir("/proc/self/fd"))


def _left(before: tuple[set[threading.Thread], int], newest: str, folder: Path) -> list[str]:
    threads, descriptors = _held()
    # reading every process of the machine is slow, and a test that started none cannot leave one
    left = [told[:300] for told in live.processes_of(folder)] if _newest_pid() != newest else []
    left += [f"thread {thread.name}" for thread in threads - before[0]]
    if descriptors > before[1]:
        left.append(f"{descriptors - before[1]} file descriptors: {_descriptors()}")
    return left


def _descriptors() -> list[str]:
    names = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return names


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[docker_engine.Engine]:
    """A Docker engine of the tests' own, with the image `python:3-slim`."""
    with docker_engine.running(tmp_path_factory.mktemp("docker")) as engine:
        yield engine


@pytest.fixture(scope="session")
def image(docker: docker_engine.Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """fob's own image."""
    return docker_engine.build_fob(docker, tmp_path_factory.mktemp("context"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty state folder."""
    return tmp_path / "home"


@pytest.fixture
def launcher() -> str:
    """How engines start their tasks; a test that is to see both ways is parametrised with it."""
    return "zygote"


@pytest.fixture
def start_engine(home: Path, launcher: str) -> Iterator[Callable[..., live.Engine]]:
    """Start engines with settings as keywords; all of them are stopped at the end."""
    started: list[live.Engine] = []

    def start(folder: Path = home, **settings: str) -> live.Engine:
        started.append(live.Engine(folder, **{"FOB_LAUNCHER": launcher} | settings))
        return started[-1]

    yield start
    for engine in started:
        engine.stop()


@pytest.fixture
def engine(start_engine: Callable[..., live.Engine]) -> live.Engine:
    """A running engine with an empty state folder."""
    return start_engine()


@pytest.fixture
def start_dispatcher(home: Path, launcher: str) -> Iterator[Callable[..., live.Dispatcher]]:
    """Start dispatchers with settings as keywords; all of them are stopped at the end."""
    started: list[live.Dispatcher] = []

    def start(folder: Path = home, **settings: str) -> live.Dispatcher:
        started.append(live.Dispatcher(folder, **{"FOB_LAUNCHER": launcher} | settings))
        return started[-1]

    yield start
    for dispatcher in started:
        dispatcher.stop()


@pytest.fixture
def dispatcher(start_dispatcher: Callable[..., live.Dispatcher]) -> live.Dispatcher:
    """A running dispatcher on the embedded engine, with an empty state folder."""
    return start_dispatcher()
