"""The engine's memory: apps and tasks in SQLite, kept through kill -9 once a call returns.

WAL with synchronous=FULL: a commit is on the disk before it is answered.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fob.engine.definitions import Definition
from fob.engine.refusals import Refusal
from fob.engine.states import TaskState

VERSIONS_KEPT = 25  # of each app, as Marathon's zk_max_versions
FAILURES_KEPT = 10  # of each app, newest last

_SCHEMA = """
CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS apps (id TEXT PRIMARY KEY, version TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
    app_id TEXT NOT NULL, version TEXT NOT NULL, definition TEXT NOT NULL,
    PRIMARY KEY (app_id, version));
CREATE TABLE IF NOT EXISTS failures (
    number INTEGER PRIMARY KEY, app_id TEXT NOT NULL, held INTEGER NOT NULL, failure TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS failures_of ON failures (app_id);
CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, app_id TEXT NOT NULL, record TEXT NOT NULL);
"""


@dataclass(frozen=True)
class TaskRecord:
    """A task as it is kept: `ports` in order, times as Marathon writes them, and the launcher's
    own `handle` by which it finds the process again (None before there is one)."""

    id: str
    app_id: str
    version: str
    state: TaskState
    ports: tuple[int, ...]
    cpus: float
    mem: float
    staged_at: str
    started_at: str | None = None
    handle: dict[str, Any] | None = None

    def json(self) -> str:
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> "TaskRecord":
        fields = json.loads(text)
        return cls(
            **fields | {"state": TaskState(fields["state"]), "ports": tuple(fields["ports"])}
        )


@dataclass(frozen=True)
class AppRecord:
    """An app as it was kept: its definition now, `failures` oldest first, and whether the last of
    them holds it back."""

    definition: Definition
    version: str
    failures: list[dict[str, Any]]
    held: bool


class Store:
    """One SQLite file in `folder`; used from one thread."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "engine.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def name(self, name: str) -> str:
        """A UUID that stays the same for this state folder, one for each `name`."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (name, str(uuid.uuid4())))
        row = self._db.execute("SELECT value FROM names WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def put_app(self, definition: Definition, version: str) -> None:
        """Make `definition` the app's current version."""
        app_id = definition["id"]
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO apps VALUES (?, ?)", (app_id, version))
            db.execute(
                "INSERT OR REPLACE INTO versions VALUES (?, ?, ?)",
                (app_id, version, json.dumps(definition)),
            )
            db.execute("UPDATE failures SET held = 0 WHERE app_id = ? AND held", (app_id,))
            db.execute(
                "DELETE FROM versions WHERE app_id = ? AND version NOT IN (SELECT version FROM "
                "versions WHERE app_id = ? ORDER BY version DESC LIMIT ?)",
                (app_id, app_id, VERSIONS_KEPT),
            )

    def remove_app(self, app_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM apps WHERE id = ?", (app_id,))
            db.execute("DELETE FROM versions WHERE app_id = ?", (app_id,))
            db.execute("DELETE FROM failures WHERE app_id = ?", (app_id,))

    def apps(self) -> list[AppRecord]:
        rows = self._db.execute(
            "SELECT id, apps.version, definition FROM apps JOIN versions "
            "ON app_id = id AND versions.version = apps.version ORDER BY id"
        ).fetchall()
        return [
            AppRecord(json.loads(definition), version, *self._failures(app_id))
            for app_id, version, definition in rows
        ]

    def versions(self, app_id: str) -> list[str]:
        """The app's versions, newest first."""
        rows = self._db.execute(
            "SELECT version FROM versions WHERE app_id = ? ORDER BY version DESC", (app_id,)
        )
        return [row[0] for row in rows]

    def definition(self, app_id: str, version: str) -> Definition | None:
        row = self._db.execute(
            "SELECT definition FROM versions WHERE app_id = ? AND version = ?", (app_id, version)
        ).fetchone()
        found: Definition | None = json.loads(row[0]) if row else None
        return found

    def put_failure(self, failure: dict[str, Any], held: bool) -> None:
        app_id = failure["appId"]
        with self._transaction() as db:
            db.execute(
                "INSERT INTO failures (app_id, held, failure) VALUES (?, ?, ?)",
                (app_id, held, json.dumps(failure)),
            )
            db.execute(
                "DELETE FROM failures WHERE app_id = ? AND number NOT IN (SELECT number FROM "
                "failures WHERE app_id = ? ORDER BY number DESC LIMIT ?)",
                (app_id, app_id, FAILURES_KEPT),
            )

    def put_task(self, task: TaskRecord) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?)", (task.id, task.app_id, task.json())
            )

    def remove_task(self, task_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM tasks WHERE id = ?", (task_id,))

    def tasks(self) -> list[TaskRecord]:
        rows = self._db.execute("SELECT record FROM tasks ORDER BY rowid").fetchall()
        return [TaskRecord.from_json(row[0]) for row in rows]

    def _failures(self, app_id: str) -> tuple[list[dict[str, Any]], bool]:
        rows = self._db.execute(
            "SELECT failure, held FROM failures WHERE app_id = ? ORDER BY number", (app_id,)
        ).fetchall()
        return [json.loads(failure) for failure, _ in rows], bool(rows and rows[-1][1])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. Raises `Refusal` 507 when the disk takes no more."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise Refusal(507, f"the engine's state folder cannot be written: {error}") from error
