"""The fetcher: a program that fetches files into a task's sandbox and unpacks archives there.

Its only argument is the path of a JSON file, the request: `items` (see definitions/fetches.py) in
order, the folders `sandbox` and `cache`, and the limits `cache_bytes` of the cache and `size_bytes`
of all that is written. It reports on standard error; after a failure the last line says why.
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
READ_TIMEOUT_SECONDS = 60
MAX_ENTRIES = 100_000  # in an archive
TARS = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")


class FetchRefused(Exception):
    """The fetcher refuses to go on; the message says why."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass
class Budget:
    """The bytes that may still be written."""

    left: int

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise FetchRefused("the files of a task take more than FOB_FETCH_MIB allows")

    def copy(self, source: Readable, target: Path) -> None:
        with target.open("wb") as file:
            while chunk := source.read(CHUNK_BYTES):
                self.take(len(chunk))
                file.write(chunk)


@dataclass(frozen=True)
class ArchiveEntry:
    """An entry of an archive: a link, a file, or if `source` and `link` are None a folder."""

    name: str
    mode: int
    source: IO[bytes] | None = None
    link: str | None = None


def main(request_path: str) -> int:
    request = json.loads(Path(request_path).read_text())
    os.unlink(request_path)
    budget = Budget(request["size_bytes"])
    for item in request["items"]:
        try:
            _fetch(item, request, budget)
        except (OSError, EOFError, ValueError, RuntimeError, FetchRefused, tarfile.TarError,
                zipfile.BadZipFile, zipfile.LargeZipFile) as error:  # fmt: skip
            why = (str(error) or type(error).__name__).split("\n")[0].rstrip(":")
            print(f"Failed to fetch {shown(item['uri'])}: {why}", file=sys.stderr)
            return 1
    return 0


def shown(uri: str) -> str:
    """`uri` without user name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _fetch(item: dict[str, Any], request: dict[str, Any], budget: Budget) -> None:
    sandbox = Path(request["sandbox"])
    target = _inside(sandbox, item["name"])
    target.parent.mkdir(parents=True, exist_ok=True)
    if item["cache"]:
        with _cached(item["uri"], request).open("rb") as cached:
            budget.copy(cached, target)
    else:
        _download(item["uri"], target, budget)
    print(f"Fetched {shown(item['uri'])}: {target.stat().st_size} bytes", file=sys.stderr)
    if item["executable"]:
        target.chmod(0o755)
    elif item["extract"]:
        _unpack(target, sandbox, budget)


def _download(uri: str, target: Path, budget: Budget) -> None:
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        with open(unquote(parts.path), "rb") as file:
            budget.copy(file, target)
        return
    with urlopen(_request(parts), timeout=READ_TIMEOUT_SECONDS) as response:
        budget.copy(response, target)
        if response.length:
            raise FetchRefused(f"the connection was closed {response.length} bytes too early")


def _request(parts: SplitResult) -> Request:
    netloc = parts.netloc.rpartition("@")[2]
    request = Request(urlunsplit(parts._replace(netloc=netloc, fragment="")))
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        basic = base64.b64encode(pair.encode()).decode()
        # unredirected: a server elsewhere must not get the password
        request.add_unredirected_header("Authorization", f"Basic {basic}")
    return request


def _cached(uri: str, request: dict[str, Any]) -> Path:
    """The file of this URI in the cache, downloaded first if it is missing."""
    cache = Path(request["cache"])
    file = cache / hashlib.sha256(uri.encode()).hexdigest()
    if not file.exists():
        # one part per process: several fetchers may download the same URI, and the last one wins
        part = cache / f"{file.name}.{os.getpid()}.part"
        try:
            _download(uri, part, Budget(request["size_bytes"]))
            part.rename(file)
        finally:
            part.unlink(missing_ok=True)
    os.utime(file)
    _trim(cache, request["cache_bytes"], file)
    return file


def _trim(cache: Path, max_bytes: int, keep: Path) -> None:
    """Remove the least recently used files except `keep`, down to `max_bytes`."""
    files = sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime)
    size = sum(path.stat().st_size for path in files)
    for path in files:
        if size > max_bytes and path != keep:
            size -= path.stat().st_size
            path.unlink(missing_ok=True)


def _unpack(archive: Path, folder: Path, budget: Budget) -> None:
    """Unpack `archive` if its name is that of one; like Mesos, keep the archive itself."""
    name = archive.name.lower()
    if name.endswith(TARS):
        with tarfile.open(archive) as tar:
            _write_all(_tar_entries(tar), folder, budget)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            _write_all(_zip_entries(packed), folder, budget)
    elif name.endswith(".gz"):
        with gzip.open(archive) as file:
            budget.copy(file, archive.with_suffix(""))


def _tar_entries(tar: tarfile.TarFile) -> Iterator[ArchiveEntry]:
    for member in tar:
        if member.isdir():
            yield ArchiveEntry(member.name, 0o755)
        elif member.issym():
            yield ArchiveEntry(member.name, 0, link=member.linkname)
        elif member.isreg() or member.islnk():
            yield ArchiveEntry(member.name, member.mode, tar.extractfile(member))
        else:
            raise FetchRefused(f"{member.name} is neither a file, nor a folder, nor a link")


def _zip_entries(packed: zipfile.ZipFile) -> Iterator[ArchiveEntry]:
    for info in packed.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            yield ArchiveEntry(info.filename, 0o755)
        elif stat.S_ISLNK(mode):
            yield ArchiveEntry(info.filename, 0, link=packed.read(info).decode())
        else:
            with packed.open(info) as source:
                yield ArchiveEntry(info.filename, mode or 0o644, source)


def _write_all(entries: Iterator[ArchiveEntry], folder: Path, budget: Budget) -> None:
    for number, entry in enumerate(entries):
        if number == MAX_ENTRIES:
            raise FetchRefused(f"the archive has more than {MAX_ENTRIES} entries")
        _write(entry, folder, budget)


def _write(entry: ArchiveEntry, folder: Path, budget: Budget) -> None:
    target = _inside(folder, entry.name)
    if entry.link is None and entry.source is None:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():  # an earlier entry: replace it, do not write to where it leads
        target.unlink()
    if entry.link is not None:
        _inside(folder, str(PurePosixPath(entry.name).parent / entry.link))
        target.symlink_to(entry.link)
    elif entry.source is not None:
        with entry.source as source:
            budget.copy(source, target)
        target.chmod(entry.mode & 0o755 | 0o600)


def _inside(folder: Path, name: str) -> Path:
    """The path `name` in `folder`. Raises `FetchRefused` if it leads out of `folder`, also through
    a symbolic link."""
    path = folder / name
    root = os.path.realpath(folder)
    real = os.path.realpath(path)
    if name.startswith("/") or os.path.commonpath([root, real]) != root:
        raise FetchRefused(f"{name} would be outside the sandbox")
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
