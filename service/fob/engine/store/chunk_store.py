"""Definitions as the store has them: JSON, in which a long value is a list of its pieces' numbers.

A piece is a row of its own, there as long as a kept definition needs it.
"""

import hashlib
import json
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fob.engine.chunks import ChunkedText, folded
from fob.engine.definitions.app_definitions import Definition

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pieces (
    number INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, content BLOB NOT NULL)
"""


class ChunkStore:
    """The pieces of all definitions in the tables `versions` and `replaced` of `db`.

    `pack`, `keep`, `let_go` and `clear` belong into a transaction; `ended` tells how that ended.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.execute(_SCHEMA)
        self._changed: Counter[int] = Counter()  # uses, in the transaction under way
        self._uses: Counter[int] = Counter()
        # of the pieces packed last: most definitions begin as the one before
        self._last: dict[str, int] = {}
        kept = "SELECT definition FROM versions UNION ALL SELECT definition FROM replaced"
        for (text,) in db.execute(kept):
            self._uses.update(_numbers(_env(text)))

    def pack(self, definition: Definition) -> str:
        """What the store keeps of it; pieces that are new are kept from now on."""
        env = {name: self._packed(value) for name, value in definition["env"].items()}
        self._changed.update(_numbers(env))
        return json.dumps(definition | {"env": env})

    def unpack(self, text: str, read: dict[int, str]) -> Definition:
        """The definition that was packed, or kept whole by an engine that knew no pieces.

        `read` has pieces read before, and gets those read now.
        """
        definition: Definition = json.loads(text)
        env = definition["env"]
        lists = {name: value for name, value in env.items() if isinstance(value, list)}
        whole = {name: value for name, value in env.items() if name not in lists}
        definition["env"] = folded(whole) | {
            name: self._long(numbers, read) for name, numbers in lists.items()
        }
        return definition

    def keep(self, text: str) -> None:
        """What was kept as `text` is kept once more."""
        self._changed.update(_numbers(_env(text)))

    def let_go(self, text: str) -> None:
        """What was kept as `text` is kept no longer."""
        self._changed.subtract(_numbers(_env(text)))

    def clear(self) -> None:
        """Remove the pieces that nothing needs any more."""
        unused = [(n,) for n, change in self._changed.items() if self._uses[n] + change == 0]
        if unused:
            self._db.executemany("DELETE FROM pieces WHERE number = ?", unused)
            self._last.clear()

    def ended(self, committed: bool) -> None:
        if committed:
            self._uses.update(self._changed)
            for number in self._changed:
                if not self._uses[number]:
                    del self._uses[number]
        else:
            self._last.clear()
        self._changed.clear()

    def _packed(self, value: str | ChunkedText) -> str | list[int]:
        if isinstance(value, str):
            return value
        last = self._last
        self._last = {p: last.get(p) or self._number(p) for p in value.pieces}
        return [self._last[piece] for piece in value.pieces]

    def _number(self, piece: str) -> int:
        content = piece.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(content).digest()
        row = self._db.execute("SELECT number FROM pieces WHERE digest = ?", (digest,)).fetchone()
        if row is not None:
            return int(row[0])
        insert = "INSERT INTO pieces (digest, content) VALUES (?, ?)"
        number = self._db.execute(insert, (digest, content)).lastrowid
        assert number is not None
        return number

    def _long(self, numbers: list[int], read: dict[int, str]) -> ChunkedText:
        for number in numbers:
            if number not in read:
                read[number] = self._piece(number)
        return ChunkedText(tuple(read[number] for number in numbers))

    def _piece(self, number: int) -> str:
        row = self._db.execute("SELECT content FROM pieces WHERE number = ?", (number,)).fetchone()
        return sys.intern(row[0].decode("utf-8", "surrogatepass"))


def _env(text: str) -> dict[str, Any]:
    env: dict[str, Any] = json.loads(text)["env"]
    return env


def _numbers(env: dict[str, Any]) -> Iterator[int]:
    for value in env.values():
        if isinstance(value, list):
            yield from value
