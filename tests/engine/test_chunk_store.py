"""Definitions on disk and in memory: text that apps share is there once."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import live
from fob.engine import chunks
from fob.engine.chunks import CHUNK_CHARS, MIN_LONG_CHARS
from fob.engine.definitions import app_definitions
from fob.engine.store.records import MAX_VERSIONS, Store

SAME = "same " * (MIN_LONG_CHARS // 5)
SAME = SAME[: len(SAME) // CHUNK_CHARS * CHUNK_CHARS] + "x" * CHUNK_CHARS


def definition(app_id: str, tail: str, **more: Any) -> app_definitions.Definition:
    body = {"id": app_id, "cmd": "true", "env": {"BIG": SAME + tail, "SMALL": "1"}, **more}
    return app_definitions.complete(body)


def stored_chunks(folder: Path) -> int:
    with sqlite3.connect(folder / "engine.db") as db:
        number: int = db.execute("SELECT count(*) FROM pieces").fetchone()[0]
    db.close()
    return number


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path)
    yield store
    store.close()


def test_chunks_that_two_apps_share_are_stored_once(store: Store, tmp_path: Path) -> None:
    store.put_app(definition("/a", "tail of a"), "v1")
    alone = stored_chunks(tmp_path)
    store.put_app(definition("/b", "tail of b"), "v1")
    assert stored_chunks(tmp_path) == alone + 1
    assert alone == len(SAME) // CHUNK_CHARS + 1


def test_equal_chunks_are_one_object_in_memory() -> None:
    a, b = (definition(f"/{x}", x)["env"]["BIG"].chunks for x in "ab")
    assert all(one is other for one, other in zip(a[:-1], b[:-1], strict=True))
    assert a[-1] != b[-1]


def test_a_reopened_store_returns_the_whole_definition(store: Store, tmp_path: Path) -> None:
    odd = "\ud800 half a character, and \u20ac"
    store.put_app(definition("/a", odd), "v1")
    again = Store(tmp_path)
    (app,) = again.apps()
    assert app.definition == definition("/a", odd)
    assert str(app.definition["env"]["BIG"]) == SAME + odd
    assert app.definition["env"]["SMALL"] == "1"
    again.close()


def test_unused_chunks_are_deleted(store: Store, tmp_path: Path) -> None:
    store.put_app(definition("/a", "a"), "v1")
    store.put_app(definition("/b", "b"), "v1")
    both = stored_chunks(tmp_path)
    store.remove_app("/a")
    assert stored_chunks(tmp_path) == both - 1
    again = Store(tmp_path)  # which counts the references anew
    again.remove_app("/b")
    assert stored_chunks(tmp_path) == 0
    again.close()


def test_chunks_are_deleted_with_the_last_version_that_has_them(
    store: Store, tmp_path: Path
) -> None:
    for number in range(MAX_VERSIONS + 3):
        store.put_app(definition("/a", f"tail {number}"), f"v{number:03}")
    assert stored_chunks(tmp_path) == len(SAME) // CHUNK_CHARS + MAX_VERSIONS


def test_a_rolled_back_transaction_leaves_the_chunks_unchanged(
    store: Store, tmp_path: Path
) -> None:
    store.put_app(definition("/a", "a"), "v1")
    before = stored_chunks(tmp_path)

    def remove_and_break() -> None:
        with store.transaction():
            store.remove_app("/a")
            raise KeyError

    with pytest.raises(KeyError):
        remove_and_break()
    assert stored_chunks(tmp_path) == before
    store.remove_app("/a")
    assert stored_chunks(tmp_path) == 0


def test_a_database_without_chunks_is_upgraded(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.close()
    with sqlite3.connect(tmp_path / "engine.db") as db:
        whole = definition("/a", "a")
        whole["env"] = chunks.join_values(whole["env"])
        db.execute("DROP TABLE pieces")
        db.execute("INSERT INTO apps VALUES ('/a', 'v1')")
        db.execute("INSERT INTO versions VALUES ('/a', 'v1', ?)", (json.dumps(whole),))
    db.close()
    store = Store(tmp_path)
    assert [app.definition for app in store.apps()] == [definition("/a", "a")]
    store.put_app(definition("/a", "new"), "v2")
    store.remove_app("/a")
    assert stored_chunks(tmp_path) == 0
    store.close()


def test_a_task_gets_the_whole_long_value(engine: live.Engine) -> None:
    engine.run("/a", 'printf %s "$BIG" | wc -c; sleep 1000', env={"BIG": SAME + "tail"})
    task = engine.running("/a")[0]["id"]
    output = engine.home / "engine" / "tasks" / "a" / task.rpartition(".")[2] / "stdout"
    told = live.until(lambda: output.exists() and output.read_text())
    assert int(told) == len(SAME) + 4
    assert engine.app("/a")["env"]["BIG"] == SAME + "tail"


def test_responses_may_omit_long_values(engine: live.Engine) -> None:
    body = {"id": "/g/a", "cmd": "true", "cpus": 1e6, "env": {"BIG": SAME, "SMALL": "1"}}
    made = engine.ask("POST", "/v2/apps?omit=long", json=body).json()
    assert made["env"] == {"SMALL": "1"}
    assert engine.get("/v2/apps/g/a?omit=long")["app"]["env"] == {"SMALL": "1"}
    assert engine.get("/v2/apps/g/*?omit=long")["*"][0]["env"] == {"SMALL": "1"}
    (item,) = live.until(lambda: engine.get("/v2/queue?omit=long")["queue"])
    assert item["app"]["env"] == {"SMALL": "1"}
    assert engine.app("/g/a")["env"] == {"BIG": SAME, "SMALL": "1"}


def test_a_change_keeps_long_values_that_it_does_not_name(engine: live.Engine) -> None:
    engine.run("/a", "sleep 1000", env={"BIG": SAME})
    before = engine.running("/a")[0]["id"]
    assert engine.ask("PUT", "/v2/apps/a", json={"instances": 1, "mem": 16}).status_code == 200
    assert engine.app("/a")["env"]["BIG"] == SAME
    assert engine.running("/a")[0]["id"] == before
