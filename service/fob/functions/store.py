"""The store of snippets: one SQLite file of the files and timelines of registrations.

A record is written before Marathon is asked, and is pending until Marathon has the app: while it is
pending, no client knows the id.
"""

# The database is in WAL mode with synchronous=NORMAL, so a commit writes to the log without syncing
# it. That survives a crash of fob, because the kernel has the data. A crash of the machine loses
# commits that were not synced. `begin_sync` syncs the record itself, in parallel with Marathon's
# work, and a client gets its id after that. The confirmation is never synced: after a crash of the
# machine, a record may be pending again although a client knows its id. `boot`, which changes with
# every start of the machine, tells such records from those of registrations that did not finish.

import functools
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fob import state, timeline
from fob.errors import NotFound, StorageFailed
from fob.functions.app_definition import sha256
from fob.timeline import Mark

FILE = "snippets.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS snippets (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, created TEXT NOT NULL,
    boot TEXT NOT NULL, content BLOB NOT NULL, confirmed INTEGER NOT NULL, marks TEXT NOT NULL)
"""


@dataclass(frozen=True)
class SnippetRecord:
    """A snippet as it was registered; `created` is in UTC, `name` may be empty."""

    content: bytes
    name: str
    created: str


class SnippetStore:
    """The records in one folder; thread-safe.

    The methods block, so call them off the loop, and raise `StorageFailed` if the disk fails.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._syncing = ThreadPoolExecutor(1, "snippets")
        with self._storage_errors():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
            self._db.execute("PRAGMA user_version=1")  # a write: creates the -wal file
            state.sync(folder, os.fsync)  # makes the names of both files durable
            self._db.execute("PRAGMA synchronous=NORMAL")

    def close(self) -> None:
        self._syncing.shutdown()
        with self._lock:
            self._db.close()

    def put(self, id_: str, record: SnippetRecord) -> Mark:
        """Insert the record as pending; after an error it is not there."""
        values = (id_, record.name, sha256(record.content), record.created, _boot(), record.content)
        with self._database() as db:
            db.execute("INSERT INTO snippets VALUES (?, ?, ?, ?, ?, ?, 0, '')", values)
        return timeline.now("stored")

    def begin_sync(self) -> "Future[None]":
        """Sync all records to disk in the store's own thread; the future is done when they are."""
        return self._syncing.submit(self._sync)

    def _sync(self) -> None:
        with self._storage_errors():
            state.sync(self._folder / f"{FILE}-wal", os.fdatasync)

    def confirm(self, id_: str, *marks: Mark) -> None:
        """Note that Marathon has the app, and store the marks of the registration."""
        lines = "".join(mark.line() for mark in marks)
        self._change("UPDATE snippets SET confirmed = 1, marks = ? WHERE id = ?", lines, id_)

    def get(self, id_: str) -> SnippetRecord:
        """Return a confirmed record; raises `NotFound` if it is missing or damaged."""
        query = "SELECT content, name, created, sha256 FROM snippets WHERE id = ? AND confirmed"
        found = self._one(query, id_)
        if found is None:
            raise NotFound(f"No snippet of {id_} is stored here")
        content, name, created, digest = found
        if sha256(content) != digest:
            raise NotFound(f"The stored snippet of {id_} is damaged")
        return SnippetRecord(content, name, created)

    def pending(self) -> list[str]:
        """Return the ids of pending records."""
        with self._database() as db:
            rows = db.execute("SELECT id FROM snippets WHERE NOT confirmed ORDER BY id")
            return [id_ for (id_,) in rows]

    def perhaps_confirmed(self, id_: str) -> bool:
        """Whether the pending record may have been confirmed before the machine crashed."""
        found = self._one("SELECT boot FROM snippets WHERE id = ?", id_)
        return found is not None and (found[0] == "" or found[0] != _boot())

    def remove(self, id_: str) -> bool:
        """Delete the record; return whether there was one."""
        return self._change("DELETE FROM snippets WHERE id = ?", id_) > 0

    def marks(self, id_: str) -> list[Mark]:
        """Return the registration's timeline; empty if another dispatcher has it."""
        found = self._one("SELECT marks FROM snippets WHERE id = ?", id_)
        return timeline.parse(found[0]) if found else []

    def _change(self, statement: str, *values: str) -> int:
        """Execute `statement`; return the number of changed records."""
        with self._database() as db:
            return db.execute(statement, values).rowcount

    def _one(self, query: str, id_: str) -> tuple[Any, ...] | None:
        with self._database() as db:
            found: tuple[Any, ...] | None = db.execute(query, (id_,)).fetchone()
            return found

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        with self._storage_errors(), self._lock:
            yield self._db

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Raise errors of disk and database as `StorageFailed`."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed(
                f"The state folder {self._folder} cannot be used: {_why(error)}."
                " Free disk space or make it writable for fob's user, or set FOB_HOME to another"
                " folder"
            ) from error


@functools.cache
def _boot() -> str:
    """Return the kernel's id of this boot; empty where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _why(error: OSError | sqlite3.Error) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
