"""The store of snippets: what the dispatcher wrote down before it asked Marathon.

A record is one file, `<id>.pending` until Marathon has the app too and `<id>.snippet` from then on:
one line of JSON (name, sha256, created), then the snippet byte for byte. A crash leaves a whole
record or none, and a pending record is a registration that nobody was told of. The marks of the
registration are in `<id>.timeline`.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from fob import timeline
from fob.appdef import sha256
from fob.errors import NotFound, StorageFailed
from fob.timeline import Mark

_SUFFIXES = (".pending", ".snippet", ".timeline")


@dataclass(frozen=True)
class Record:
    """A snippet as it was registered; `created` is UTC, `name` may be empty."""

    content: bytes
    name: str
    created: str


class Snippets:
    """The records in one folder. Every method waits for the disk: call them off the loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._sweep()
        except OSError as error:
            raise _failed(folder, error) from error

    def put(self, id_: str, record: Record) -> None:
        """Keep the record, pending; raises `StorageFailed` and leaves nothing behind."""
        head = {
            "name": record.name,
            "sha256": sha256(record.content),
            "created": record.created,
        }
        temporary = self._path(id_, ".temporary")
        try:
            _write(temporary, json.dumps(head).encode() + b"\n" + record.content)
            os.rename(temporary, self._path(id_, ".pending"))
            self._sync()
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self._path(id_, ".pending").unlink(missing_ok=True)
            raise _failed(self._folder, error) from error

    def confirm(self, id_: str) -> None:
        """Marathon has it too; from now on the record is the function's."""
        try:
            os.rename(self._path(id_, ".pending"), self._path(id_, ".snippet"))
            self._sync()
        except OSError as error:
            raise _failed(self._folder, error) from error

    def get(self, id_: str) -> Record:
        """The record; raises `NotFound` when it is not here, or not here whole."""
        try:
            head, _, content = self._path(id_, ".snippet").read_bytes().partition(b"\n")
            fields = json.loads(head)
        except FileNotFoundError as error:
            raise NotFound(f"No snippet of {id_} is stored here") from error
        except OSError as error:
            raise _failed(self._folder, error) from error
        except ValueError as error:
            raise NotFound(f"The stored snippet of {id_} is damaged") from error
        if sha256(content) != fields["sha256"]:
            raise NotFound(f"The stored snippet of {id_} is damaged")
        return Record(content, fields["name"], fields["created"])

    def registered(self) -> list[str]:
        """The ids of all registered functions stored here."""
        return sorted(path.stem for path in self._folder.glob("*.snippet"))

    def pending(self) -> list[str]:
        """The ids of registrations begun and not confirmed."""
        return sorted(path.stem for path in self._folder.glob("*.pending"))

    def remove(self, id_: str) -> bool:
        """Forget the id; whether there was anything to forget."""
        found = False
        try:
            for suffix in _SUFFIXES:
                if self._path(id_, suffix).exists():
                    self._path(id_, suffix).unlink(missing_ok=True)
                    found = True
        except OSError as error:
            raise _failed(self._folder, error) from error
        return found

    def mark(self, id_: str, *marks: Mark) -> None:
        """Append marks to the registration's timeline."""
        try:
            with self._path(id_, ".timeline").open("a") as file:
                file.write("".join(mark.line() for mark in marks))
        except OSError as error:
            raise _failed(self._folder, error) from error

    def marks(self, id_: str) -> list[Mark]:
        """The registration's timeline; empty when another dispatcher took it."""
        try:
            return timeline.parse(self._path(id_, ".timeline").read_text(errors="replace"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _failed(self._folder, error) from error

    def _path(self, id_: str, suffix: str) -> Path:
        return self._folder / f"{id_}{suffix}"

    def _sync(self) -> None:
        """Make the folder's names durable too."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _sweep(self) -> None:
        """Remove what a crash in the middle of a write left."""
        for path in self._folder.glob("*.temporary"):
            path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _failed(folder: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"The state folder {folder} cannot be used: {error.strerror or error}."
        " Make room or give it to fob's user, or set FOB_HOME to another"
    )
