"""Checks an archive that is to become a function of several files; unpacks nothing to disk.

It is read, and its entry module found, with the runner's own code: features/unzip.py, modules.py.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from fob.errors import BadRequest, TooLarge
from fob.runner.features import modules, unzip
from fob.source import dependencies, parsing
from fob.source.dependencies import Dependencies
from fob.source.parsing import MAX_SNIPPET_BYTES

# The second is the signature of an empty zip.
_SIGNATURES = (unzip.MAGIC, b"PK\5\6")
# Compiling this much takes seconds, and compiling one file a thousand times its size of memory.
MAX_PYTHON_BYTES = 1024 * 1024
MAX_PYTHON_FILE_BYTES = MAX_SNIPPET_BYTES

_REQUIREMENTS = "requirements.txt"
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Archive:
    """Files by path; `entry` is the path of the module to import, `name` the name to call in it.

    An empty `name` leaves the choice to the runner.
    """

    files: Mapping[str, bytes]
    entry: str
    name: str

    def dependencies(self) -> Dependencies:
        """Return the dependencies in requirements.txt and in the entry module's metadata.

        Raises `BadRequest`, as the functions of `dependencies` do.
        """
        with _naming(self.entry):
            metadata = dependencies.of_source(parsing.decode(self.files[self.entry]))
        if _REQUIREMENTS not in self.files:
            return metadata
        listed = dependencies.of_requirements_file(_text(self.files[_REQUIREMENTS]))
        requirements = sorted({*metadata.requirements, *listed.requirements})
        return Dependencies(tuple(requirements), metadata.requires_python)


def is_archive(body: bytes) -> bool:
    """Whether it begins like a zip, as no Python file can."""
    return body.startswith(_SIGNATURES)


def check(body: bytes, entry: str | None = None) -> Archive:
    """Read `body` as an archive; compile all Python in it, run none.

    `entry` is the value of `?entry=`. Raises `TooLarge`, and `BadRequest` with the code
    `bad_archive`, `no_entry` (details: found), or one of `parsing.check` (details: file too).
    """
    contents, module, name = _open(body, entry or "")
    _check_python(contents)
    with _naming(module):
        parsing.check(contents[module], name or None)
    return Archive(contents, module, name)


def _open(body: bytes, entry: str) -> tuple[dict[str, bytes], str, str]:
    try:
        contents = unzip.read(body)
        paths = modules.modules_of(contents)
        module, name = modules.entry_of(paths, entry)
    except unzip.TooMuch as error:
        limits = {"size": error.size, "limit": error.limit}
        raise TooLarge(f"The archive cannot be used: {error}", details=limits) from error
    except unzip.BadArchive as error:
        raise BadRequest(f"The archive cannot be used: {error}", code="bad_archive") from error
    except modules.NoEntry as error:
        raise BadRequest(
            f"{error}. Name one with ?entry=MODULE or ?entry=MODULE:NAME",
            code="no_entry",
            details={"found": error.found},
        ) from error
    return contents, paths[module], name


def _check_python(contents: Mapping[str, bytes]) -> None:
    python = {path: content for path, content in contents.items() if path.endswith(".py")}
    _check_size("The archive", sum(map(len, python.values())), MAX_PYTHON_BYTES)
    for path, content in python.items():
        _check_size(path, len(content), MAX_PYTHON_FILE_BYTES)
        with _naming(path):
            parsing.parse(content)


def _check_size(what: str, size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(
            f"{what} has {size} bytes of Python; the limit is {limit}",
            details={"bytes": size, "limit": limit},
        )


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Add the file's name to a `BadRequest`."""
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


def pack(contents: Iterable[tuple[str, bytes]]) -> bytes:
    """Return an archive of these files (path, content); its bytes depend on nothing else.

    Raises `BadRequest` for a path that is not a plain relative one.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        for path, content in sorted(contents):
            entry = zipfile.ZipInfo(_plain(path), _FIXED_TIME)
            entry.external_attr = 0o100644 << 16
            target.writestr(entry, content, zipfile.ZIP_DEFLATED, compresslevel=9)
    return packed.getvalue()


def _plain(path: str) -> str:
    try:
        return unzip.path_of(path.encode("utf-8", "surrogatepass"))
    except unzip.BadArchive as error:
        raise BadRequest(f"The file cannot be used: {error}", code="bad_archive") from error
