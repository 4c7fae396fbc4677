"""The engine's memory, in SQLite: what a call has kept outlives kill -9 once it returns.

WAL. What is wanted (apps and their failures) is on the disk before a call returns. Tasks end with
the machine, so what is written about them only has to outlive the engine, and waits for no disk.
"""

import json
import os
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fob import state
from fob.engine.definitions.app_definitions import Definition
from fob.engine.errors import ApiError
from fob.engine.states import TaskState
from fob.engine.store import deployment_records
from fob.engine.store.chunk_store import ChunkStore
from fob.engine.store.deployment_records import DeploymentRecords
from fob.timeline import seconds_since

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
CREATE TABLE IF NOT EXISTS groups (id TEXT PRIMARY KEY, dependencies TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS group_versions (
    group_id TEXT NOT NULL, version TEXT NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (group_id, version));
CREATE TABLE IF NOT EXISTS tasks (id TEXT PRIMARY KEY, app_id TEXT NOT NULL, record TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
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

    @property
    def age_seconds(self) -> float:
        return seconds_since(self.staged_at)

    def json(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

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
        self._durable = False
        self._be_durable(True)
        self._db.executescript(_SCHEMA + deployment_records.SCHEMA)
        self._shelf = ChunkStore(self._db)
        self.underway = DeploymentRecords(self._db, self._shelf, self.together)
        state.sync(folder, os.fsync)  # the names of its files

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
            added = db.execute("INSERT OR IGNORE INTO apps VALUES (?, ?)", (app_id, version))
            if not added.rowcount:
                self._set_version(app_id, version)
            packed = self._shelf.pack(definition)
            db.execute("INSERT INTO versions VALUES (?, ?, ?)", (app_id, version, packed))
            if not added.rowcount:
                self._drop_old_versions(app_id)

    def remove_app(self, app_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM apps WHERE id = ?", (app_id,))
            self._drop_versions("app_id = ?", app_id)
            self._shelf.clear()
            db.execute("DELETE FROM failures WHERE app_id = ?", (app_id,))

    def apps(self) -> list[AppRecord]:
        rows = self._db.execute(
            "SELECT id, apps.version, definition FROM apps JOIN versions "
            "ON app_id = id AND versions.version = apps.version ORDER BY id"
        ).fetchall()
        read: dict[int, str] = {}
        return [
            AppRecord(self._shelf.unpack(definition, read), version, *self._failures(app_id))
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
        return self._shelf.unpack(row[0], {}) if row else None

    def put_group(self, group_id: str, dependencies: tuple[str, ...]) -> None:
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO groups VALUES (?, ?)", (group_id, json.dumps(dependencies))
            )

    def remove_group(self, group_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM groups WHERE id = ?", (group_id,))
            db.execute("DELETE FROM group_versions WHERE group_id = ?", (group_id,))

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Groups that were made, with what they depend on."""
        rows = self._db.execute("SELECT id, dependencies FROM groups ORDER BY id").fetchall()
        return {id_: tuple(json.loads(dependencies)) for id_, dependencies in rows}

    def put_group_version(self, group_id: str, version: str, content: str) -> None:
        """Keep what is in a group, as JSON."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO group_versions VALUES (?, ?, ?)",
                (group_id, version, content),
            )
            db.execute(
                "DELETE FROM group_versions WHERE group_id = ? AND version NOT IN (SELECT version "
                "FROM group_versions WHERE group_id = ? ORDER BY version DESC LIMIT ?)",
                (group_id, group_id, VERSIONS_KEPT),
            )

    def group_versions(self, group_id: str) -> dict[str, str]:
        """What was in a group, as JSON, by version; newest first."""
        rows = self._db.execute(
            "SELECT version, content FROM group_versions WHERE group_id = ? ORDER BY version DESC",
            (group_id,),
        )
        return dict(rows.fetchall())

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
        with self._transaction(durable=False) as db:
            db.execute(
                "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?)", (task.id, task.app_id, task.json())
            )

    def remove_task(self, task_id: str) -> None:
        with self._transaction(durable=False) as db:
            db.execute("DELETE FROM tasks WHERE id = ?", (task_id,))

    def tasks(self) -> list[TaskRecord]:
        rows = self._db.execute("SELECT record FROM tasks ORDER BY rowid").fetchall()
        return [TaskRecord.from_json(row[0]) for row in rows]

    def _failures(self, app_id: str) -> tuple[list[dict[str, Any]], bool]:
        rows = self._db.execute(
            "SELECT failure, held FROM failures WHERE app_id = ? ORDER BY number", (app_id,)
        ).fetchall()
        return [json.loads(failure) for failure, _ in rows], bool(rows and rows[-1][1])

    def _set_version(self, app_id: str, version: str) -> None:
        self._db.execute("UPDATE apps SET version = ? WHERE id = ?", (version, app_id))
        self._db.execute("UPDATE failures SET held = 0 WHERE app_id = ? AND held", (app_id,))
        self._drop_versions("app_id = ? AND version = ?", app_id, version)

    def _drop_old_versions(self, app_id: str) -> None:
        self._drop_versions(
            "app_id = ? AND version NOT IN (SELECT version FROM "
            "versions WHERE app_id = ? ORDER BY version DESC LIMIT ?)",
            app_id,
            app_id,
            VERSIONS_KEPT,
        )
        self._shelf.clear()

    def _drop_versions(self, which: str, *values: str | int) -> None:
        """Delete the versions for which the SQL condition `which` is true."""
        rows = self._db.execute(f"SELECT definition FROM versions WHERE {which}", values)
        for (text,) in rows.fetchall():
            self._shelf.let_go(text)
        self._db.execute(f"DELETE FROM versions WHERE {which}", values)

    @contextmanager
    def together(self, durable: bool = True) -> Iterator[None]:
        """All changes in this block, or none of them; if `durable`, on the disk at its end."""
        with self._transaction(durable):
            yield

    @contextmanager
    def _transaction(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """All or nothing; if `durable`, on the disk at the end.

        Raises `Refusal` 507 when the disk takes no more.
        """
        if self._db.in_transaction:
            yield self._db
            return
        self._be_durable(durable)
        committed = False
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
            committed = True
        except sqlite3.OperationalError as error:
            raise _unwritable(error) from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._shelf.ended(committed)

    def _be_durable(self, durable: bool) -> None:
        """Have commits wait for the disk from now on, or not."""
        if durable is not self._durable:
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._durable = durable


def _unwritable(error: Exception) -> ApiError:
    return ApiError(507, f"the engine's state folder cannot be written: {error}")
