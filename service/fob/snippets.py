"""The store of snippets: what the dispatcher wrote down before it asked Marathon.

A record is one file, `<id>.pending` until Marathon has the app too and `<id>.snippet` from then on:
one line of JSON (name, sha256, created, boot), then the snippet byte for byte. A pending record is
a registration that nobody was told of, and a crash may leave half of it: its id is what matters.
The marks of the registration are in `<id>.timeline`.

A record waits for the disk, its confirmation does not: a crash of fob forgets neither, but one of
the machine may forget that a record was confirmed. `boot` tells these two apart.
"""

import functools
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
        except OSError as error:
            raise _failed(folder, error) from error

    def put(self, id_: str, record: Record) -> None:
        """Keep the record, pending; raises `StorageFailed` and leaves nothing behind."""
        head = {
            "name": record.name,
            "sha256": sha256(record.content),
            "created": record.created,
            "boot": _boot(),
        }
        try:
            _write(self._path(id_, ".pending"), json.dumps(head).encode() + b"\n" + record.content)
            self._sync()
        except OSError as error:
            self._path(id_, ".pending").unlink(missing_ok=True)
            raise _failed(self._folder, error) from error

    def confirm(self, id_: str, *marks: Mark) -> None:
        """Marathon has it too; from now on the record is the function's, and so are the marks."""
        try:
            if marks:
                lines = "".join(mark.line() for mark in marks)
                self._path(id_, ".timeline").write_text(lines)
            os.rename(self._path(id_, ".pending"), self._path(id_, ".snippet"))
        except OSError as error:
            raise _failed(self._folder, error) from error

    def get(self, id_: str) -> Record:
        """The record; raises `NotFound` when it is not here, or not here whole."""
        fields, content = self._read(id_, ".snippet")
        return Record(content, fields["name"], fields["created"])

    def pending(self) -> list[str]:
        """The ids of registrations begun and not confirmed."""
        return sorted(path.stem for path in self._folder.glob("*.pending"))

    def perhaps_confirmed(self, id_: str) -> bool:
        """Whether a pending record may have been confirmed before the machine went down."""
        try:
            fields, _ = self._read(id_, ".pending")
        except NotFound:  # not whole, so Marathon was not asked yet
            return False
        return fields.get("boot") in ("", None) or fields["boot"] != _boot()

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

    def marks(self, id_: str) -> list[Mark]:
        """The registration's timeline; empty when another dispatcher took it."""
        try:
            return timeline.parse(self._path(id_, ".timeline").read_text(errors="replace"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _failed(self._folder, error) from error

    def _read(self, id_: str, suffix: str) -> tuple[dict[str, str], bytes]:
        """What is known of a record that is here whole, and the snippet; or raises `NotFound`."""
        try:
            head, _, content = self._path(id_, suffix).read_bytes().partition(b"\n")
            fields: dict[str, str] = json.loads(head)
        except FileNotFoundError as error:
            raise NotFound(f"No snippet of {id_} is stored here") from error
        except OSError as error:
            raise _failed(self._folder, error) from error
        except ValueError as error:
            raise NotFound(f"The stored snippet of {id_} is damaged") from error
        if sha256(content) != fields["sha256"]:
            raise NotFound(f"The stored snippet of {id_} is damaged")
        return fields, content

    def _path(self, id_: str, suffix: str) -> Path:
        return self._folder / f"{id_}{suffix}"

    def _sync(self) -> None:
        """Make the folder's names durable too."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@functools.cache
def _boot() -> str:
    """What this run of the machine is called; empty where that cannot be told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _failed(folder: Path, error: OSError) -> StorageFailed:
    return StorageFailed(
        f"The state folder {folder} cannot be used: {error.strerror or error}."
        " Make room or give it to fob's user, or set FOB_HOME to another"
    )
