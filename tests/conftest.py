"""Fixtures for all tests."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import docker_engine
import live

pytest_plugins = ["leak_check"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--executed",
        action="store_true",
        help="start every engine and dispatcher by its command line; by default most are forked"
        " from a process that has imported fob",
    )


def pytest_configure() -> None:
    """Undo what a shell does to its background jobs: they, and all they start, ignore Ctrl-C."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fork the servers of the test, unless it is about how they start."""
    live.executed = item.config.getoption("executed") or bool(item.get_closest_marker("executed"))


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
