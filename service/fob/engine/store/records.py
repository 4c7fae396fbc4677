"""The engine's state in SQLite: a write that has returned survives kill -9 of the engine.

The desired state (apps, groups) and failures must also survive a power cut: they are synced to disk
before the write returns. Tasks end with the machine, so their records are not.
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

MAX_VERSIONS = 25  # per app and per group, as Marathon's zk_max_versions
MAX_FAILURES = 10  # per app

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
    """A stored task: its `ports` in order, times in Marathon's format, and the `handle` by which
    its launcher finds the process again (None while there is no process)."""

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
    """A stored app: its current definition, `failures` oldest first, and whether the last failure
    was permanent, so that the app is `held` until it is changed."""

    definition: Definition
    version: str
    failures: list[dict[str, Any]]
    held: bool


class Store:
    """One SQLite file in `folder`, used from one thread.

    Write-ahead log: a commit appends to the file `engine.db-wal`. Once written, it is in the
    kernel's page cache, and no signal to this process can undo it. Whether a commit also waits
    until it is on disk is chosen for each transaction, by SQLite's `synchronous`:

    - FULL syncs the log at every commit, so that a power cut loses nothing.
    - NORMAL syncs it at checkpoints only. A power cut may lose the last commits, but never a part
      of one or one out of order: frames have checksums, and recovery stops at the first bad one.
      The next FULL commit also syncs the NORMAL commits before it.

    The engine's event loop itself waits for the disk: handing that to a thread was measured to take
    longer, because the thread then has to wake the loop.
    """

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "engine.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._synced = False
        self._sync_commits(True)
        self._db.executescript(_SCHEMA + deployment_records.SCHEMA)
        self._chunks = ChunkStore(self._db)
        self.deployments = DeploymentRecords(self._db, self._chunks, self.transaction)
        # without this a power cut could lose the names of the files just made, whatever they hold
        state.sync(folder, os.fsync)

    def close(self) -> None:
        self._db.close()

    def name(self, name: str) -> str:
        """Return the UUID that this state folder has for `name`; it never changes."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (name, str(uuid.uuid4())))
        row = self._db.execute("SELECT value FROM names WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def put_app(self, definition: Definition, version: str) -> None:
        """Make `definition` the current version of its app, which may be new."""
        app_id = definition["id"]
        with self.transaction() as db:
            added = db.execute("INSERT OR IGNORE INTO apps VALUES (?, ?)", (app_id, version))
            if not added.rowcount:
                self._set_version(app_id, version)
            packed = self._chunks.pack(definition)
            db.execute("INSERT INTO versions VALUES (?, ?, ?)", (app_id, version, packed))
            if not added.rowcount:  # a new app, the most frequent case, has no old versions
                self._drop_old_versions(app_id)

    def remove_app(self, app_id: str) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM apps WHERE id = ?", (app_id,))
            self._drop_versions("app_id = ?", app_id)
            self._chunks.delete_unused()
            db.execute("DELETE FROM failures WHERE app_id = ?", (app_id,))

    def apps(self) -> list[AppRecord]:
        rows = self._db.execute(
            "SELECT id, apps.version, definition FROM apps JOIN versions "
            "ON app_id = id AND versions.version = apps.version ORDER BY id"
        ).fetchall()
        cache: dict[int, str] = {}
        return [
            AppRecord(self._chunks.unpack(definition, cache), version, *self._failures(app_id))
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
        return self._chunks.unpack(row[0], {}) if row else None

    def put_group(self, group_id: str, dependencies: tuple[str, ...]) -> None:
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO groups VALUES (?, ?)", (group_id, json.dumps(dependencies))
            )

    def remove_group(self, group_id: str) -> None:
        with self.transaction() as db:
            db.execute("DELETE FROM groups WHERE id = ?", (group_id,))
            db.execute("DELETE FROM group_versions WHERE group_id = ?", (group_id,))

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Explicitly created groups and their dependencies, by id."""
        rows = self._db.execute("SELECT id, dependencies FROM groups ORDER BY id").fetchall()
        return {id_: tuple(json.loads(dependencies)) for id_, dependencies in rows}

    def put_group_version(self, group_id: str, version: str, content: str) -> None:
        """Store the content of a group, as JSON."""
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO group_versions VALUES (?, ?, ?)",
                (group_id, version, content),
            )
            db.execute(
                "DELETE FROM group_versions WHERE group_id = ? AND version NOT IN (SELECT version "
                "FROM group_versions WHERE group_id = ? ORDER BY version DESC LIMIT ?)",
                (group_id, group_id, MAX_VERSIONS),
            )

    def group_versions(self, group_id: str) -> dict[str, str]:
        """The contents of a group, as JSON, by version; newest first."""
        rows = self._db.execute(
            "SELECT version, content FROM group_versions WHERE group_id = ? ORDER BY version DESC",
            (group_id,),
        )
        return dict(rows.fetchall())

    def put_failure(self, failure: dict[str, Any], held: bool) -> None:
        app_id = failure["appId"]
        with self.transaction() as db:
            db.execute(
                "INSERT INTO failures (app_id, held, failure) VALUES (?, ?, ?)",
                (app_id, held, json.dumps(failure)),
            )
            db.execute(
                "DELETE FROM failures WHERE app_id = ? AND number NOT IN (SELECT number FROM "
                "failures WHERE app_id = ? ORDER BY number DESC LIMIT ?)",
                (app_id, app_id, MAX_FAILURES),
            )

    def put_task(self, task: TaskRecord) -> None:
        with self.transaction(durable=False) as db:
            db.execute(
                "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?)", (task.id, task.app_id, task.json())
            )

    def remove_task(self, task_id: str) -> None:
        with self.transaction(durable=False) as db:
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
            MAX_VERSIONS,
        )
        self._chunks.delete_unused()

    def _drop_versions(self, which: str, *values: str | int) -> None:
        """Delete the versions for which the SQL condition `which` is true."""
        rows = self._db.execute(f"SELECT definition FROM versions WHERE {which}", values)
        for (text,) in rows.fetchall():
            self._chunks.drop_reference(text)
        self._db.execute(f"DELETE FROM versions WHERE {which}", values)

    @contextmanager
    def transaction(self, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Commit all changes of the block at its end, or none if it raises.

        With `durable`, return only when they are on disk. A block within another joins it: the
        outer one decides when to commit and whether to wait for the disk. Raises `ApiError` 507
        when the disk is full or fails.
        """
        if self._db.in_transaction:
            yield self._db
            return
        self._sync_commits(durable)
        committed = False
        try:
            # takes the write lock now; a deferred transaction could fail in the middle of the block
            self._db.execute("BEGIN IMMEDIATE")
            yield self._db
            self._db.execute("COMMIT")
            committed = True
        except sqlite3.OperationalError as error:
            raise _unwritable(error) from error
        finally:
            if self._db.in_transaction:  # SQLite itself has rolled back after some errors
                self._db.execute("ROLLBACK")
            self._chunks.end_transaction(committed)

    def _sync_commits(self, sync: bool) -> None:
        """Choose whether commits wait for the disk. Within a transaction SQLite ignores this."""
        if sync is not self._synced:
            self._db.execute(f"PRAGMA synchronous={'FULL' if sync else 'NORMAL'}")
            self._synced = sync


def _unwritable(error: Exception) -> ApiError:
    return ApiError(507, f"the engine's state folder cannot be written: {error}")
