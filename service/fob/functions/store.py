"""The store of snippets: what the dispatcher wrote down before it asked Marathon.

One SQLite file. A record is pending until Marathon has the app too: a registration that nobody was
told of. The marks of the registration are with it.

A crash of fob forgets nothing. One of the machine may forget a record that was not waited for
(`begin_sync`), and that one was confirmed. `boot` tells these two apart.
"""

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
    """A snippet as it was registered; `created` is UTC, `name` may be empty."""

    content: bytes
    name: str
    created: str


class SnippetStore:
    """The records in one folder, for any thread. The methods block: call them off the loop. They
    raise `StorageFailed` when the disk fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._syncing = ThreadPoolExecutor(1, "snippets")
        with self._told():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(folder / FILE, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(_SCHEMA)
            self._db.execute("PRAGMA user_version=1")  # now there is a file of what is written
            state.sync(folder, os.fsync)
            self._db.execute("PRAGMA synchronous=NORMAL")

    def close(self) -> None:
        self._syncing.shutdown()
        with self._lock:
            self._db.close()

    def put(self, id_: str, record: SnippetRecord) -> Mark:
        """Keep the record, pending; an error leaves nothing behind."""
        values = (id_, record.name, sha256(record.content), record.created, _boot(), record.content)
        with self._in_hand() as db:
            db.execute("INSERT INTO snippets VALUES (?, ?, ?, ?, ?, ?, 0, '')", values)
        return timeline.now("stored")

    def begin_sync(self) -> "Future[None]":
        """Bring all that was put to the disk, in a thread of the store's; done when it is there."""
        return self._syncing.submit(self._sync)

    def _sync(self) -> None:
        with self._told():
            state.sync(self._folder / f"{FILE}-wal", os.fdatasync)

    def confirm(self, id_: str, *marks: Mark) -> None:
        """Marathon has it too; from now on the record is the function's, and so are the marks."""
        lines = "".join(mark.line() for mark in marks)
        self._change("UPDATE snippets SET confirmed = 1, marks = ? WHERE id = ?", lines, id_)

    def get(self, id_: str) -> SnippetRecord:
        """The record; raises `NotFound` when it is not here, or not as it was."""
        wanted = "SELECT content, name, created, sha256 FROM snippets WHERE id = ? AND confirmed"
        found = self._one(wanted, id_)
        if found is None:
            raise NotFound(f"No snippet of {id_} is stored here")
        content, name, created, digest = found
        if sha256(content) != digest:
            raise NotFound(f"The stored snippet of {id_} is damaged")
        return SnippetRecord(content, name, created)

    def pending(self) -> list[str]:
        """The ids of registrations begun and not confirmed."""
        with self._in_hand() as db:
            rows = db.execute("SELECT id FROM snippets WHERE NOT confirmed ORDER BY id")
            return [id_ for (id_,) in rows]

    def perhaps_confirmed(self, id_: str) -> bool:
        """Whether a pending record may have been confirmed before the machine went down."""
        found = self._one("SELECT boot FROM snippets WHERE id = ?", id_)
        return found is not None and (found[0] == "" or found[0] != _boot())

    def remove(self, id_: str) -> bool:
        """Forget the id; whether there was anything to forget."""
        return self._change("DELETE FROM snippets WHERE id = ?", id_) > 0

    def marks(self, id_: str) -> list[Mark]:
        """The registration's timeline; empty when another dispatcher took it."""
        found = self._one("SELECT marks FROM snippets WHERE id = ?", id_)
        return timeline.parse(found[0]) if found else []

    def _change(self, statement: str, *values: str) -> int:
        """How many records were changed; a crash of fob forgets that no more."""
        with self._in_hand() as db:
            return db.execute(statement, values).rowcount

    def _one(self, query: str, id_: str) -> tuple[Any, ...] | None:
        with self._in_hand() as db:
            found: tuple[Any, ...] | None = db.execute(query, (id_,)).fetchone()
            return found

    @contextmanager
    def _in_hand(self) -> Iterator[sqlite3.Connection]:
        with self._told(), self._lock:
            yield self._db

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What goes wrong, as an error that says what to do."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed(
                f"The state folder {self._folder} cannot be used: {_why(error)}."
                " Make room or give it to fob's user, or set FOB_HOME to another"
            ) from error


@functools.cache
def _boot() -> str:
    """What this run of the machine is called; empty where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _why(error: OSError | sqlite3.Error) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
