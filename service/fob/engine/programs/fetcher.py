"""A program of its own: fetches files into a task's sandbox and unpacks archives there.

It is told by a JSON file, named by its one argument: `items` (see definitions/fetches.py) in
order, the `sandbox`, the `cache` with at most `cache_bytes` in it, and `size_bytes`, the most that
may be written in all. It says on standard error what it does; the last line of a failure says why.
"""

import base64
import gzip
import hashlib
import json
import os
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

CHUNK_BYTES = 2**16
SILENCE_SECONDS = 60  # that a server may take for the next bytes
MAX_ENTRIES = 100_000  # of an archive
TARS = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")


class FetchRefused(Exception):
    """What is not done, and why."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass
class Budget:
    """Bytes that may still be written."""

    left: int

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise FetchRefused("it takes more room than a task may have fetched (FOB_FETCH_MIB)")

    def copy(self, source: Readable, target: Path) -> None:
        with target.open("wb") as file:
            while chunk := source.read(CHUNK_BYTES):
                self.take(len(chunk))
                file.write(chunk)


@dataclass(frozen=True)
class ArchiveEntry:
    """One of an archive's: a folder (`source` and `link` None), a link, or a file."""

    name: str
    mode: int
    source: IO[bytes] | None = None
    link: str | None = None


def main(order_path: str) -> int:
    order = json.loads(Path(order_path).read_text())
    os.unlink(order_path)
    budget = Budget(order["size_bytes"])
    for item in order["items"]:
        try:
            _fetch(item, order, budget)
        except (OSError, EOFError, ValueError, RuntimeError, FetchRefused, tarfile.TarError,
                zipfile.BadZipFile, zipfile.LargeZipFile) as error:  # fmt: skip
            why = (str(error) or type(error).__name__).split("\n")[0].rstrip(":")
            print(f"Failed to fetch {shown(item['uri'])}: {why}", file=sys.stderr)
            return 1
    return 0


def shown(uri: str) -> str:
    """`uri` without a password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _fetch(item: dict[str, Any], order: dict[str, Any], budget: Budget) -> None:
    sandbox = Path(order["sandbox"])
    target = _inside(sandbox, item["name"])
    target.parent.mkdir(parents=True, exist_ok=True)
    if item["cache"]:
        with _cached(item["uri"], order).open("rb") as kept:
            budget.copy(kept, target)
    else:
        _get(item["uri"], target, budget)
    print(f"Fetched {shown(item['uri'])}: {target.stat().st_size} bytes", file=sys.stderr)
    if item["executable"]:
        target.chmod(0o755)
    elif item["extract"]:
        _unpack(target, sandbox, budget)


def _get(uri: str, target: Path, budget: Budget) -> None:
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        with open(unquote(parts.path), "rb") as file:
            budget.copy(file, target)
        return
    with urlopen(_request(parts), timeout=SILENCE_SECONDS) as response:
        budget.copy(response, target)
        if response.length:
            raise FetchRefused(f"the connection ended {response.length} bytes too early")


def _request(parts: SplitResult) -> Request:
    netloc = parts.netloc.rpartition("@")[2]
    request = Request(urlunsplit(parts._replace(netloc=netloc, fragment="")))
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        basic = base64.b64encode(pair.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {basic}")
    return request


def _cached(uri: str, order: dict[str, Any]) -> Path:
    """The file in the cache; fetched into it if it is not there."""
    cache = Path(order["cache"])
    kept = cache / hashlib.sha256(uri.encode()).hexdigest()
    if not kept.exists():
        part = cache / f"{kept.name}.{os.getpid()}.part"
        try:
            _get(uri, part, Budget(order["size_bytes"]))
            part.rename(kept)
        finally:
            part.unlink(missing_ok=True)
    os.utime(kept)
    _trim(cache, order["cache_bytes"], kept)
    return kept


def _trim(cache: Path, most_bytes: int, but: Path) -> None:
    """Remove what was used longest ago, until the rest is small enough."""
    files = sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime)
    size = sum(path.stat().st_size for path in files)
    for path in files:
        if size > most_bytes and path != but:
            size -= path.stat().st_size
            path.unlink(missing_ok=True)


def _unpack(archive: Path, folder: Path, budget: Budget) -> None:
    """Unpack what is an archive by its name; the archive stays, as Mesos has it."""
    name = archive.name.lower()
    if name.endswith(TARS):
        with tarfile.open(archive) as tar:
            _put_all(_of_tar(tar), folder, budget)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            _put_all(_of_zip(packed), folder, budget)
    elif name.endswith(".gz"):
        with gzip.open(archive) as file:
            budget.copy(file, archive.with_suffix(""))


def _of_tar(tar: tarfile.TarFile) -> Iterator[ArchiveEntry]:
    for member in tar:
        if member.isdir():
            yield ArchiveEntry(member.name, 0o755)
        elif member.issym():
            yield ArchiveEntry(member.name, 0, link=member.linkname)
        elif member.isreg() or member.islnk():
            yield ArchiveEntry(member.name, member.mode, tar.extractfile(member))
        else:
            raise FetchRefused(f"{member.name} is neither a file, a folder nor a link")


def _of_zip(packed: zipfile.ZipFile) -> Iterator[ArchiveEntry]:
    for info in packed.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            yield ArchiveEntry(info.filename, 0o755)
        elif stat.S_ISLNK(mode):
            yield ArchiveEntry(info.filename, 0, link=packed.read(info).decode())
        else:
            with packed.open(info) as source:
                yield ArchiveEntry(info.filename, mode or 0o644, source)


def _put_all(entries: Iterator[ArchiveEntry], folder: Path, budget: Budget) -> None:
    for number, entry in enumerate(entries):
        if number == MAX_ENTRIES:
            raise FetchRefused(f"it holds more than {MAX_ENTRIES} entries")
        _put(entry, folder, budget)


def _put(entry: ArchiveEntry, folder: Path, budget: Budget) -> None:
    target = _inside(folder, entry.name)
    if entry.link is None and entry.source is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        target.unlink()
    if entry.link is not None:
        _inside(folder, str(PurePosixPath(entry.name).parent / entry.link))
        target.symlink_to(entry.link)
    elif entry.source is not None:
        with entry.source as source:
            budget.copy(source, target)
        target.chmod(entry.mode & 0o755 | 0o600)


def _inside(folder: Path, name: str) -> Path:
    """The path `name` in `folder`. Raises `Refused` when it is, or leads, anywhere else."""
    path = folder / name
    root = os.path.realpath(folder)
    real = os.path.realpath(path)
    if name.startswith("/") or os.path.commonpath([root, real]) != root:
        raise FetchRefused(f"{name} would be outside of the sandbox")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
