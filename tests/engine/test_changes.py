from collections.abc import Iterator
from pathlib import Path

import pytest

from fob.engine.control.changes import Changes
from fob.engine.control.deployment_storage import DeploymentStorage
from fob.engine.control.deployments import Deployments
from fob.engine.definitions import app_definitions
from fob.engine.errors import ApiError
from fob.engine.events import Events
from fob.engine.runtime.docker.host import DockerHost
from fob.engine.runtime.docker.policy import DockerPolicy
from fob.engine.store.records import AppRecord, Store
from fob.engine.tasks.app import App

DEFINITION = app_definitions.complete({"id": "/a", "cmd": "true"})


class FakeSupervisor:
    """The part of a supervisor that a change needs."""

    def __init__(self) -> None:
        self.apps: dict[str, App] = {}

    def add(self, record: AppRecord) -> None:
        self.apps[record.definition["id"]] = App(record)

    def remove(self, app: App) -> None:
        del self.apps[app.id]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def changes(store: Store) -> Changes:
    events = Events()
    policy = DockerPolicy("", DockerHost(""))
    deployments = Deployments(events, DeploymentStorage(store.deployments))
    return Changes(FakeSupervisor(), store, deployments, events, policy)  # type: ignore[arg-type]


def test_an_app_that_cannot_be_stored_does_not_exist(changes: Changes, store: Store) -> None:
    store._db.execute("PRAGMA query_only = 1")  # like a full disk
    with pytest.raises(ApiError) as caught:
        changes.create(DEFINITION)
    assert caught.value.status == 507
    assert changes.tree().apps == {}
    assert store.apps() == []


class FakeTask:
    """The part of a task that is needed to kill it."""

    def __init__(self, app_id: str) -> None:
        self.record = self
        self.app_id = app_id
        self.killed = False

    def kill(self, reason: str) -> None:
        self.killed = True


def test_no_task_is_killed_when_its_app_cannot_be_scaled(changes: Changes, store: Store) -> None:
    changes._apply(changes._make_deployment({"/a": DEFINITION}, {}))
    store.put_app(DEFINITION, "2016-04-02T02:41:44.123Z")
    task = FakeTask("/a")
    store._db.execute("PRAGMA query_only = 1")  # like a full disk
    with pytest.raises(ApiError) as caught:
        changes.kill([task], scale=True, force=False)  # type: ignore[list-item]
    assert (caught.value.status, task.killed) == (507, False)
