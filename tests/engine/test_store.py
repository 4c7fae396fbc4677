from dataclasses import replace
from pathlib import Path

import pytest

from fob.engine.definitions import app_definitions
from fob.engine.errors import ApiError
from fob.engine.states import TaskState
from fob.engine.store.records import (
    FAILURES_KEPT,
    VERSIONS_KEPT,
    Store,
    TaskRecord,
)

TASK = TaskRecord(
    id="a.1",
    app_id="/a",
    version="2016-04-02T00:00:00.000Z",
    state=TaskState.RUNNING,
    ports=(20001, 20002),
    cpus=0.1,
    mem=64,
    staged_at="2016-04-02T00:00:00.000Z",
    handle={"pid": 1},
)


def definition(**more: object) -> app_definitions.Definition:
    return app_definitions.complete({"id": "/a", "cmd": "true", **more})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_what_was_put_is_there_after_a_new_start(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.put_app(definition(), "v1")
    first.put_task(TASK)
    name = first.name("framework")
    # not closed: as after kill -9
    again = Store(tmp_path)
    assert [app.definition for app in again.apps()] == [definition()]
    assert again.tasks() == [TASK]
    assert again.name("framework") == name
    first.close()
    again.close()


def test_the_newest_version_is_the_app_and_the_older_are_kept(store: Store) -> None:
    for number in range(VERSIONS_KEPT + 5):
        store.put_app(definition(instances=number), f"v{number:03}")
    assert store.apps()[0].definition["instances"] == VERSIONS_KEPT + 4
    versions = store.versions("/a")
    assert len(versions) == VERSIONS_KEPT
    assert versions[0] == f"v{VERSIONS_KEPT + 4:03}"
    older = store.definition("/a", versions[1])
    assert older is not None
    assert older["instances"] == VERSIONS_KEPT + 3
    store.close()


def test_the_last_failures_are_kept_and_a_change_lets_go(store: Store) -> None:
    store.put_app(definition(), "v1")
    for number in range(FAILURES_KEPT + 3):
        store.put_failure({"appId": "/a", "message": str(number)}, held=True)
    app = store.apps()[0]
    assert len(app.failures) == FAILURES_KEPT
    assert app.failures[-1]["message"] == str(FAILURES_KEPT + 2)
    assert app.held
    store.put_app(definition(), "v2")
    assert not store.apps()[0].held
    store.close()


def test_removing_an_app_leaves_no_row(store: Store) -> None:
    store.put_app(definition(), "v1")
    store.put_failure({"appId": "/a"}, held=False)
    store.remove_app("/a")
    assert store.apps() == []
    assert store.versions("/a") == []
    store.close()


def test_a_task_changes_in_place(store: Store) -> None:
    store.put_task(TASK)
    store.put_task(replace(TASK, state=TaskState.KILLING))
    assert [task.state for task in store.tasks()] == [TaskState.KILLING]
    store.remove_task(TASK.id)
    assert store.tasks() == []
    store.close()


def test_a_full_disk_is_refused_and_nothing_is_half_written(store: Store) -> None:
    store.put_app(definition(), "v1")
    store._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full
    with pytest.raises(ApiError) as caught:
        store.put_app(definition(env={"A": "x" * 100_000}), "v2")
    assert caught.value.status == 507
    assert "full" in caught.value.body["message"]
    assert store.versions("/a") == ["v1"]
    store.close()


def test_the_store_is_durable(store: Store) -> None:
    (mode,) = store._db.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = store._db.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)
    store.close()
