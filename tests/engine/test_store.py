"""The store: what survives a crash, and how much history it keeps."""

from dataclasses import replace
from pathlib import Path

import pytest

from fob.engine.definitions import app_definitions
from fob.engine.errors import ApiError
from fob.engine.states import TaskState
from fob.engine.store.records import (
    MAX_FAILURES,
    MAX_VERSIONS,
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


def test_a_store_that_was_not_closed_has_everything_after_reopening(tmp_path: Path) -> None:
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


def test_the_newest_version_is_current_and_older_ones_are_listed(store: Store) -> None:
    for number in range(MAX_VERSIONS + 5):
        store.put_app(definition(instances=number), f"v{number:03}")
    assert store.apps()[0].definition["instances"] == MAX_VERSIONS + 4
    versions = store.versions("/a")
    assert len(versions) == MAX_VERSIONS
    assert versions[0] == f"v{MAX_VERSIONS + 4:03}"
    older = store.definition("/a", versions[1])
    assert older is not None
    assert older["instances"] == MAX_VERSIONS + 3
    store.close()


def test_the_last_failures_are_stored_and_a_change_releases_a_held_app(store: Store) -> None:
    store.put_app(definition(), "v1")
    for number in range(MAX_FAILURES + 3):
        store.put_failure({"appId": "/a", "message": str(number)}, held=True)
    app = store.apps()[0]
    assert len(app.failures) == MAX_FAILURES
    assert app.failures[-1]["message"] == str(MAX_FAILURES + 2)
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


def test_a_stored_task_is_updated_in_place(store: Store) -> None:
    store.put_task(TASK)
    store.put_task(replace(TASK, state=TaskState.KILLING))
    assert [task.state for task in store.tasks()] == [TaskState.KILLING]
    store.remove_task(TASK.id)
    assert store.tasks() == []
    store.close()


def test_a_full_disk_is_507_and_nothing_is_half_written(store: Store) -> None:
    store.put_app(definition(), "v1")
    store._db.execute("PRAGMA max_page_count = 1")  # as SQLite simulates a full disk
    with pytest.raises(ApiError) as caught:
        store.put_app(definition(env={"A": "x" * 100_000}), "v2")
    assert caught.value.status == 507
    assert "full" in caught.value.body["message"]
    assert store.versions("/a") == ["v1"]
    store.close()


def test_commits_are_synced_to_disk_by_default(store: Store) -> None:
    (mode,) = store._db.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = store._db.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)
    store.close()
