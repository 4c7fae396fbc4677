"""Definitions on the disk and in memory: what apps have in common is there once."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import live
from fob.engine import chunks
from fob.engine.chunks import LONG, PIECE
from fob.engine.definitions import app_definitions
from fob.engine.store.records import VERSIONS_KEPT, Store

SAME = "same " * (LONG // 5)
SAME = SAME[: len(SAME) // PIECE * PIECE] + "x" * PIECE


def definition(app_id: str, tail: str, **more: Any) -> app_definitions.Definition:
    body = {"id": app_id, "cmd": "true", "env": {"BIG": SAME + tail, "SMALL": "1"}, **more}
    return app_definitions.complete(body)


def kept_pieces(folder: Path) -> int:
    with sqlite3.connect(folder / "engine.db") as db:
        number: int = db.execute("SELECT count(*) FROM pieces").fetchone()[0]
    db.close()
    return number


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path)
    yield store
    store.close()


def test_what_two_apps_have_in_common_is_kept_once(store: Store, tmp_path: Path) -> None:
    store.put_app(definition("/a", "tail of a"), "v1")
    alone = kept_pieces(tmp_path)
    store.put_app(definition("/b", "tail of b"), "v1")
    assert kept_pieces(tmp_path) == alone + 1
    assert alone == len(SAME) // PIECE + 1


def test_equal_pieces_are_one_object_in_memory() -> None:
    a, b = (definition(f"/{x}", x)["env"]["BIG"].pieces for x in "ab")
    assert all(one is other for one, other in zip(a[:-1], b[:-1], strict=True))
    assert a[-1] != b[-1]


def test_a_definition_comes_back_whole_after_a_new_start(store: Store, tmp_path: Path) -> None:
    odd = "\ud800 half a character, and \u20ac"
    store.put_app(definition("/a", odd), "v1")
    again = Store(tmp_path)
    (app,) = again.apps()
    assert app.definition == definition("/a", odd)
    assert str(app.definition["env"]["BIG"]) == SAME + odd
    assert app.definition["env"]["SMALL"] == "1"
    again.close()


def test_pieces_that_nothing_needs_are_gone(store: Store, tmp_path: Path) -> None:
    store.put_app(definition("/a", "a"), "v1")
    store.put_app(definition("/b", "b"), "v1")
    both = kept_pieces(tmp_path)
    store.remove_app("/a")
    assert kept_pieces(tmp_path) == both - 1
    again = Store(tmp_path)  # which has to know what is in use
    again.remove_app("/b")
    assert kept_pieces(tmp_path) == 0
    again.close()


def test_a_version_that_is_dropped_takes_its_pieces_along(store: Store, tmp_path: Path) -> None:
    for number in range(VERSIONS_KEPT + 3):
        store.put_app(definition("/a", f"tail {number}"), f"v{number:03}")
    assert kept_pieces(tmp_path) == len(SAME) // PIECE + VERSIONS_KEPT


def test_a_change_that_fails_leaves_the_pieces_as_they_were(store: Store, tmp_path: Path) -> None:
    store.put_app(definition("/a", "a"), "v1")
    before = kept_pieces(tmp_path)

    def remove_and_break() -> None:
        with store.together():
            store.remove_app("/a")
            raise KeyError

    with pytest.raises(KeyError):
        remove_and_break()
    assert kept_pieces(tmp_path) == before
    store.remove_app("/a")
    assert kept_pieces(tmp_path) == 0


def test_a_database_of_before_there_were_pieces_opens(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.close()
    with sqlite3.connect(tmp_path / "engine.db") as db:
        whole = definition("/a", "a")
        whole["env"] = chunks.unfolded(whole["env"])
        db.execute("DROP TABLE pieces")
        db.execute("INSERT INTO apps VALUES ('/a', 'v1')")
        db.execute("INSERT INTO versions VALUES ('/a', 'v1', ?)", (json.dumps(whole),))
    db.close()
    store = Store(tmp_path)
    assert [app.definition for app in store.apps()] == [definition("/a", "a")]
    store.put_app(definition("/a", "new"), "v2")
    store.remove_app("/a")
    assert kept_pieces(tmp_path) == 0
    store.close()


def test_a_task_gets_the_long_value_whole(engine: live.Engine) -> None:
    engine.run("/a", 'printf %s "$BIG" | wc -c; sleep 1000', env={"BIG": SAME + "tail"})
    task = engine.running("/a")[0]["id"]
    output = engine.home / "engine" / "tasks" / "a" / task.rpartition(".")[2] / "stdout"
    told = live.until(lambda: output.exists() and output.read_text())
    assert int(told) == len(SAME) + 4
    assert engine.app("/a")["env"]["BIG"] == SAME + "tail"


def test_answers_may_leave_out_what_is_long(engine: live.Engine) -> None:
    body = {"id": "/g/a", "cmd": "true", "cpus": 1e6, "env": {"BIG": SAME, "SMALL": "1"}}
    made = engine.ask("POST", "/v2/apps?omit=long", json=body).json()
    assert made["env"] == {"SMALL": "1"}
    assert engine.get("/v2/apps/g/a?omit=long")["app"]["env"] == {"SMALL": "1"}
    assert engine.get("/v2/apps/g/*?omit=long")["*"][0]["env"] == {"SMALL": "1"}
    (item,) = live.until(lambda: engine.get("/v2/queue?omit=long")["queue"])
    assert item["app"]["env"] == {"SMALL": "1"}
    assert engine.app("/g/a")["env"] == {"BIG": SAME, "SMALL": "1"}


def test_a_change_keeps_the_long_values_it_does_not_name(engine: live.Engine) -> None:
    engine.run("/a", "sleep 1000", env={"BIG": SAME})
    before = engine.running("/a")[0]["id"]
    assert engine.ask("PUT", "/v2/apps/a", json={"instances": 1, "mem": 16}).status_code == 200
    assert engine.app("/a")["env"]["BIG"] == SAME
    assert engine.running("/a")[0]["id"] == before
