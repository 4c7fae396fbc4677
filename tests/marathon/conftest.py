import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from dispatching import Dispatcher

from fob.dispatcher import assembly
from fob.marathon import Marathon, client
from fob.marathon.access import Access


@pytest.fixture(autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How Marathon is reached: as a remote one, through requests, although it is local.

    A test of the `direct` client too, which the engine is reached with, is parametrised with both.
    """
    way: str = getattr(request, "param", "remote")
    if way == "remote":
        monkeypatch.setattr(Access, "direct", False)
    return way


@pytest.fixture
def version() -> str:
    """The Marathon's version; tests of other versions are parametrised with it."""
    return "1.5.8"


@pytest.fixture
def cluster(version: str, tmp_path: Path) -> Iterator[Cluster]:
    """A Marathon that runs functions."""
    cluster = Cluster(version, tmp_path / "agent")
    yield cluster
    cluster.close()


@pytest.fixture
def dispatch(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Dispatcher]]:
    """Start dispatchers on the cluster, each with its own state folder; all end with the test."""
    started: list[Dispatcher] = []

    def start(url: str = "", **settings: str) -> Dispatcher:
        folder = tmp_path / f"home-{len(started)}"
        started.append(Dispatcher(folder, marathon_api=url or cluster.url, **settings))
        return started[-1]

    yield start
    for dispatcher in started:
        dispatcher.close()


@pytest.fixture
def dispatcher(dispatch: Callable[..., Dispatcher]) -> Dispatcher:
    """A dispatcher on the cluster."""
    return dispatch()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between attempts, and the timeouts."""
    monkeypatch.setattr(client, "GET_PAUSES", (0.001, 0.001))
    monkeypatch.setattr(client, "CHANGE_PAUSES", (0.001, 0.001, 0.001, 0.001))
    monkeypatch.setattr(assembly, "Marathon", functools.partial(Marathon, read_timeout=1.0))
    monkeypatch.setattr(assembly, "SETTLE_EVERY", 0.05)
