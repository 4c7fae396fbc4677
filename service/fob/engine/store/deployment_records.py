"""Records of deployments in progress, with which the next engine resumes them."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from fob.engine.definitions.app_definitions import Definition
from fob.engine.definitions.group_tree import Dependencies
from fob.engine.store.chunk_store import ChunkStore

# `plan` is the record without definitions; `replaced` has those of `before`, one row for each app
SCHEMA = """
CREATE TABLE IF NOT EXISTS deployments (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, step INTEGER NOT NULL, plan TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replaced (
    deployment_id TEXT NOT NULL, app_id TEXT NOT NULL, definition TEXT NOT NULL,
    PRIMARY KEY (deployment_id, app_id));
"""

Transaction = Callable[[bool], AbstractContextManager[sqlite3.Connection]]


@dataclass(frozen=True)
class DeploymentRecord:
    """A stored deployment; `step` is the index of the current one of `steps`.

    `steps` are lists of actions in Marathon's JSON. `before` has the definitions that the
    deployment replaces; `after` only the ids of its apps, since their definitions are the current
    ones as long as the apps have `version`.
    """

    id: str
    version: str
    step: int
    steps: list[list[dict[str, str]]]
    before: dict[str, Definition]
    after: list[str]
    groups_before: dict[str, Dependencies]
    groups_after: dict[str, Dependencies]

    def plan_json(self) -> str:
        """The fields of the column `plan`: they never change, and have no column of their own."""
        elsewhere = ("id", "step", "before")
        return json.dumps({k: value for k, value in self.__dict__.items() if k not in elsewhere})


class DeploymentRecords:
    """The tables of deployments in `db`.

    Each method is a transaction, or joins the current one. The step and the end of a deployment do
    not wait for the disk: if a power cut loses them, the next engine resumes at an earlier step.
    """

    def __init__(self, db: sqlite3.Connection, chunks: ChunkStore, transaction: Transaction):
        self._db = db
        self._chunks = chunks
        self._transaction = transaction

    def put(self, record: DeploymentRecord, durable: bool = True) -> None:
        """Insert a deployment. Call this before the apps are changed: the definitions that it
        replaces are copied from the store."""
        with self._transaction(durable):
            self._db.execute(
                "INSERT INTO deployments (id, step, plan) VALUES (?, ?, ?)",
                (record.id, record.step, record.plan_json()),
            )
            for app_id in record.before:
                self._copy_current_definition(record.id, app_id)

    def set_step(self, deployment_id: str, step: int) -> None:
        """Record the current step, without waiting for the disk."""
        with self._transaction(False):
            self._db.execute("UPDATE deployments SET step = ? WHERE id = ?", (step, deployment_id))

    def remove(self, deployment_id: str) -> None:
        """Remove a deployment that has ended, without waiting for the disk."""
        with self._transaction(False):
            self._db.execute("DELETE FROM deployments WHERE id = ?", (deployment_id,))
            which = "FROM replaced WHERE deployment_id = ?"
            for (text,) in self._db.execute(f"SELECT definition {which}", (deployment_id,)):
                self._chunks.drop_reference(text)
            self._db.execute(f"DELETE {which}", (deployment_id,))
            self._chunks.delete_unused()

    def all(self) -> list[DeploymentRecord]:
        """All deployments in progress, oldest first."""
        rows = self._db.execute("SELECT id, step, plan FROM deployments ORDER BY number")
        return [self._record(*row) for row in rows.fetchall()]

    def _copy_current_definition(self, deployment_id: str, app_id: str) -> None:
        (text,) = self._db.execute(
            "SELECT definition FROM apps JOIN versions ON app_id = id AND "
            "versions.version = apps.version WHERE id = ?",
            (app_id,),
        ).fetchone()
        self._chunks.add_reference(text)
        row = (deployment_id, app_id, text)
        self._db.execute("INSERT INTO replaced VALUES (?, ?, ?)", row)

    def _record(self, deployment_id: str, step: int, plan: str) -> DeploymentRecord:
        fields: dict[str, Any] = json.loads(plan)
        rows = self._db.execute(
            "SELECT app_id, definition FROM replaced WHERE deployment_id = ? ORDER BY rowid",
            (deployment_id,),
        ).fetchall()
        cache: dict[int, str] = {}
        before = {app_id: self._chunks.unpack(text, cache) for app_id, text in rows}
        for name in ("groups_before", "groups_after"):
            fields[name] = {id_: tuple(needs) for id_, needs in fields[name].items()}
        return DeploymentRecord(**fields | {"id": deployment_id, "step": step, "before": before})
