"""Deployments that are under way, as they are kept for the engine that comes next."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from fob.engine.definitions.app_definitions import Definition
from fob.engine.definitions.group_tree import Dependencies
from fob.engine.store.chunk_store import ChunkStore

SCHEMA = """
CREATE TABLE IF NOT EXISTS deployments (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, step INTEGER NOT NULL, plan TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replaced (
    deployment_id TEXT NOT NULL, app_id TEXT NOT NULL, definition TEXT NOT NULL,
    PRIMARY KEY (deployment_id, app_id));
"""

Together = Callable[[bool], AbstractContextManager[None]]


@dataclass(frozen=True)
class DeploymentRecord:
    """A deployment as it is kept: what it is made of, and the index of the `step` under way.

    `steps` are lists of actions in Marathon's JSON. The apps of `after` are there as they were
    wanted at `version`; those of `before` are definitions.
    """

    id: str
    version: str
    step: int
    steps: list[list[dict[str, str]]]
    before: dict[str, Definition]
    after: list[str]
    groups_before: dict[str, Dependencies]
    groups_after: dict[str, Dependencies]

    def json(self) -> str:
        """What changes no more, without the definitions."""
        aside = ("id", "step", "before")
        return json.dumps({k: value for k, value in self.__dict__.items() if k not in aside})


class DeploymentRecords:
    """The tables of deployments in `db`. `put` and `drop` may be part of a transaction."""

    def __init__(self, db: sqlite3.Connection, shelf: ChunkStore, together: Together) -> None:
        self._db = db
        self._shelf = shelf
        self._together = together

    def put(self, record: DeploymentRecord, durable: bool = True) -> None:
        """Keep a deployment; the store has the apps still as they were before it."""
        with self._together(durable):
            self._db.execute(
                "INSERT INTO deployments (id, step, plan) VALUES (?, ?, ?)",
                (record.id, record.step, record.json()),
            )
            for app_id in record.before:
                self._put_replaced(record.id, app_id)

    def move(self, deployment_id: str, step: int) -> None:
        """Another step is under way; this waits for no disk."""
        with self._together(False):
            self._db.execute("UPDATE deployments SET step = ? WHERE id = ?", (step, deployment_id))

    def drop(self, deployment_id: str) -> None:
        """It is over; this waits for no disk."""
        with self._together(False):
            self._db.execute("DELETE FROM deployments WHERE id = ?", (deployment_id,))
            which = "FROM replaced WHERE deployment_id = ?"
            for (text,) in self._db.execute(f"SELECT definition {which}", (deployment_id,)):
                self._shelf.let_go(text)
            self._db.execute(f"DELETE {which}", (deployment_id,))
            self._shelf.clear()

    def all(self) -> list[DeploymentRecord]:
        """Those under way, the oldest first."""
        rows = self._db.execute("SELECT id, step, plan FROM deployments ORDER BY number")
        return [self._record(*row) for row in rows.fetchall()]

    def _put_replaced(self, deployment_id: str, app_id: str) -> None:
        (text,) = self._db.execute(
            "SELECT definition FROM apps JOIN versions ON app_id = id AND "
            "versions.version = apps.version WHERE id = ?",
            (app_id,),
        ).fetchone()
        self._shelf.keep(text)
        row = (deployment_id, app_id, text)
        self._db.execute("INSERT INTO replaced VALUES (?, ?, ?)", row)

    def _record(self, deployment_id: str, step: int, plan: str) -> DeploymentRecord:
        fields: dict[str, Any] = json.loads(plan)
        rows = self._db.execute(
            "SELECT app_id, definition FROM replaced WHERE deployment_id = ? ORDER BY rowid",
            (deployment_id,),
        ).fetchall()
        read: dict[int, str] = {}
        before = {app_id: self._shelf.unpack(text, read) for app_id, text in rows}
        for name in ("groups_before", "groups_after"):
            fields[name] = {id_: tuple(needs) for id_, needs in fields[name].items()}
        return DeploymentRecord(**fields | {"id": deployment_id, "step": step, "before": before})
