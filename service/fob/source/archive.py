"""What an archive must be to become a function of several files; nothing is unpacked to disk.

How it is read, and which module is the entry, is the runner's code: parts/unzip.py, parts/files.py.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from fob.errors import BadRequest, TooLarge
from fob.parts import files, unzip
from fob.source import dependencies, parsing
from fob.source.dependencies import Dependencies
from fob.source.parsing import MAX_SNIPPET_BYTES

# a zip of no files begins otherwise, and is one nevertheless
_BEGINNINGS = (unzip.MAGIC, b"PK\5\6")
# compiling takes seconds for so much, and for one file a thousand times its memory
PYTHON_BYTES = 1024 * 1024
PYTHON_FILE_BYTES = MAX_SNIPPET_BYTES

_REQUIREMENTS = "requirements.txt"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Archive:
    """Files by their paths; `entry` is the path of the module to import, `name` what to call in it,
    "" when the runner is to search for that."""

    files: Mapping[str, bytes]
    entry: str
    name: str

    def dependencies(self) -> Dependencies:
        """What requirements.txt and the metadata in the entry module name, together.

        Raises `BadRequest`, as `dependencies` does.
        """
        with _told_of(self.entry):
            needs = dependencies.of_source(parsing.decode(self.files[self.entry]))
        if _REQUIREMENTS not in self.files:
            return needs
        listed = dependencies.of_requirements_file(_text(self.files[_REQUIREMENTS]))
        together = sorted({*needs.requirements, *listed.requirements})
        return Dependencies(tuple(together), needs.requires_python)


def is_archive(body: bytes) -> bool:
    """Whether it is a zip by its first bytes, which no Python file can have."""
    return body.startswith(_BEGINNINGS)


def check(body: bytes, entry: str | None = None) -> Archive:
    """Read `body` as the archive it must be; all Python in it is compiled, none is run.

    `entry` is what was asked for with `?entry=`. Raises `TooLarge`, and `BadRequest` with the code
    `bad_archive`, `no_entry` (details: found), or one of `source.check` (details: file too).
    """
    held, module, name = _opened(body, entry or "")
    _check_python(held)
    with _told_of(module):
        parsing.check(held[module], name or None)
    return Archive(held, module, name)


def _opened(body: bytes, entry: str) -> tuple[dict[str, bytes], str, str]:
    try:
        held = unzip.read(body)
        modules = files.modules_of(held)
        module, name = files.entry_of(modules, entry)
    except unzip.TooMuch as error:
        limits = {"size": error.size, "limit": error.limit}
        raise TooLarge(f"The archive cannot be taken: {error}", details=limits) from error
    except unzip.BadArchive as error:
        raise BadRequest(f"The archive cannot be taken: {error}", code="bad_archive") from error
    except files.NoEntry as error:
        raise BadRequest(
            f"{error}. Name one with ?entry=MODULE or ?entry=MODULE:NAME",
            code="no_entry",
            details={"found": error.found},
        ) from error
    return held, modules[module], name


def _check_python(held: Mapping[str, bytes]) -> None:
    python = [path for path in held if path.endswith(".py")]
    _limit("The archive", sum(len(held[path]) for path in python), PYTHON_BYTES)
    for path in python:
        _limit(path, len(held[path]), PYTHON_FILE_BYTES)
        with _told_of(path):
            parsing.parse(held[path])


def _limit(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(
            f"{what} has {size} bytes of Python, and {limit} is the most",
            details={"bytes": size, "limit": limit},
        )


@contextmanager
def _told_of(path: str) -> Iterator[None]:
    """Put the file's name into what is refused."""
    try:
        yield
    except BadRequest as error:
        details = {"file": path, **(error.details or {})}
        raise BadRequest(f"{path}: {error.message}", code=error.code, details=details) from error


def _text(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadRequest(
            f"{_REQUIREMENTS} is wrong: line {line} is not UTF-8",
            code="bad_requirements",
            details={"line": line},
        ) from error


def pack(held: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive of these files, always the same for the same names and contents.

    Raises `BadRequest` for a name that is no plain relative path.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        for path, content in sorted(held):
            entry = zipfile.ZipInfo(_plain(path), _LONG_AGO)
            entry.external_attr = 0o100644 << 16
            target.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
    return made.getvalue()


def _plain(path: str) -> str:
    try:
        return unzip.path_of(path.encode("utf-8", "surrogatepass"))
    except unzip.BadArchive as error:
        raise BadRequest(f"The file cannot be taken: {error}", code="bad_archive") from error
