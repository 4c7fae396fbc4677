"""The module nosql of SeBS (github.com/spcl/serverless-benchmarks), on a folder.

Functions of that suite do `from . import nosql`. An item is a JSON file; its keys are pairs of name
and value.
"""

from __future__ import annotations

import json
import os
from urllib.parse import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Key = tuple[str, str]

FOLDER = ""  # set by sebs.py


class nosql:
    """Tables of items with a primary and a secondary key."""

    instance: nosql | None = None

    @staticmethod
    def get_instance() -> nosql:
        nosql.instance = nosql.instance or nosql()
        return nosql.instance

    def insert(
        self, table_name: str, primary_key: Key, secondary_key: Key, data: dict[str, Any]
    ) -> None:
        data.update([primary_key, secondary_key])
        path = _path(table_name, primary_key, secondary_key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        new = f"{path}.{os.urandom(4).hex()}"
        with open(new, "w", encoding="utf-8") as file:
            json.dump(data, file)
        os.replace(new, path)  # at once: no reader sees half of it

    def get(self, table_name: str, primary_key: Key, secondary_key: Key) -> dict[str, Any]:
        """The item; KeyError when there is none."""
        try:
            return _read(_path(table_name, primary_key, secondary_key))
        except FileNotFoundError:
            raise KeyError(f"{table_name}: {primary_key}, {secondary_key}") from None

    def update(
        self, table_name: str, primary_key: Key, secondary_key: Key, updates: dict[str, Any]
    ) -> None:
        try:
            item = self.get(table_name, primary_key, secondary_key)
        except KeyError:
            item = {}
        self.insert(table_name, primary_key, secondary_key, {**item, **updates})

    def query(self, table_name: str, primary_key: Key, _: str) -> list[dict[str, Any]]:
        """All items with this primary key, ordered by the secondary one."""
        folder = os.path.dirname(_path(table_name, primary_key, ("", "")))
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [_read(os.path.join(folder, name)) for name in names if name.endswith(".json")]

    def delete(self, table_name: str, primary_key: Key, secondary_key: Key) -> None:
        try:
            os.unlink(_path(table_name, primary_key, secondary_key))
        except FileNotFoundError:
            return


def _path(table: str, primary: Key, secondary: Key) -> str:
    """`=` before each name, so that none is empty, `.` or `..`."""
    names = ["=" + quote(str(part), safe="") for part in (table, primary[1], secondary[1])]
    return os.path.join(FOLDER, *names) + ".json"


def _read(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        item: dict[str, Any] = json.load(file)
    return item
