"""Stored definitions: JSON in which a long value of `env` is a list of chunk numbers.

Each distinct chunk is one row, shared by all definitions that contain it, and is deleted with the
last of them.
"""

import hashlib
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fob.engine.chunks import ChunkedText, chunk_values
from fob.engine.definitions.app_definitions import Definition

# chunks were once called pieces; the table keeps that name, for existing state folders
_SCHEMA = """
CREATE TABLE IF NOT EXISTS pieces (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, content BLOB NOT NULL)
"""


class ChunkStore:
    """The chunks of all definitions in the tables `versions` and `replaced` of `db`.

    Call `pack`, `add_reference`, `drop_reference` and `delete_unused` within a transaction, and
    `end_transaction` after it.

    References are counted in memory rather than in the database: registering an app adds one to
    every chunk of its program, which would be a dozen rows to update for a value that a scan of the
    definitions gives at start. Counts of a transaction in progress are kept apart, so that a
    rollback only has to forget them.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.execute(_SCHEMA)
        self._references: Counter[int] = Counter()  # by number, as committed
        self._pending: Counter[int] = Counter()  # changes made by the current transaction
        # Numbers of the chunks of the value packed last. Most apps begin with the same program, so
        # this saves a digest and a query for nearly every chunk: with it, and without a search for
        # old versions of a new app, storing an app went from 0.42 ms to 0.12 ms.
        self._recent: dict[str, int] = {}
        stored = "SELECT definition FROM versions UNION ALL SELECT definition FROM replaced"
        for (text,) in db.execute(stored):
            self._references.update(_chunk_numbers(_env_of(text)))

    def pack(self, definition: Definition) -> str:
        """Return the text to store for `definition`, and insert the chunks that are new."""
        env = {name: self._packed(value) for name, value in definition["env"].items()}
        self._pending.update(_chunk_numbers(env))
        return json.dumps(definition | {"env": env})

    def unpack(self, text: str, cache: dict[int, str]) -> Definition:
        """Return the definition that was packed as `text`.

        Engines that had no chunks stored long values whole; those are chunked here. `cache` holds
        the chunks read so far, by number, and is added to.
        """
        definition: Definition = json.loads(text)
        env = definition["env"]
        chunked = {name: value for name, value in env.items() if isinstance(value, list)}
        plain = {name: value for name, value in env.items() if name not in chunked}
        definition["env"] = chunk_values(plain) | {
            name: self._chunked_text(numbers, cache) for name, numbers in chunked.items()
        }
        return definition

    def add_reference(self, text: str) -> None:
        """Count one more stored copy of the packed definition `text`."""
        self._pending.update(_chunk_numbers(_env_of(text)))

    def drop_reference(self, text: str) -> None:
        """Count one stored copy less of the packed definition `text`."""
        self._pending.subtract(_chunk_numbers(_env_of(text)))

    def delete_unused(self) -> None:
        """Delete the chunks that no definition refers to any more."""
        # only chunks that this transaction dropped can have become unused
        unused = [(n,) for n, change in self._pending.items() if self._references[n] + change == 0]
        if unused:
            self._db.executemany("DELETE FROM pieces WHERE number = ?", unused)
            self._recent.clear()  # may hold deleted numbers, which SQLite reuses

    def end_transaction(self, committed: bool) -> None:
        """Apply the pending reference counts, or discard them after a rollback."""
        if committed:
            self._references.update(self._pending)
            for number in self._pending:
                if not self._references[number]:
                    del self._references[number]
        else:
            self._recent.clear()  # may hold numbers of rows that were rolled back
        self._pending.clear()

    def _packed(self, value: str | ChunkedText) -> str | list[int]:
        if isinstance(value, str):
            return value
        recent = self._recent
        self._recent = {c: recent.get(c) or self._find_or_insert(c) for c in value.chunks}
        return [self._recent[chunk] for chunk in value.chunks]

    def _find_or_insert(self, chunk: str) -> int:
        # Python strings may hold lone surrogates, which UTF-8 and SQLite's TEXT do not allow
        content = chunk.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(content).digest()
        row = self._db.execute("SELECT number FROM pieces WHERE digest = ?", (digest,)).fetchone()
        if row is not None:
            return int(row[0])
        insert = "INSERT INTO pieces (digest, content) VALUES (?, ?)"
        number = self._db.execute(insert, (digest, content)).lastrowid
        assert number is not None
        return number

    def _chunked_text(self, numbers: list[int], cache: dict[int, str]) -> ChunkedText:
        for number in numbers:
            if number not in cache:
                cache[number] = self._chunk(number)
        return ChunkedText(tuple(cache[number] for number in numbers))

    def _chunk(self, number: int) -> str:
        row = self._db.execute("SELECT content FROM pieces WHERE number = ?", (number,)).fetchone()
        return sys.intern(row[0].decode("utf-8", "surrogatepass"))


def _env_of(text: str) -> dict[str, Any]:
    env: dict[str, Any] = json.loads(text)["env"]
    return env


def _chunk_numbers(env: dict[str, Any]) -> Iterator[int]:
    for value in env.values():
        if isinstance(value, list):
            yield from value
