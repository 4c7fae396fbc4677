"""Reads zip archives strictly, and unpacks them.

The dispatcher reads archives with the same code, so it accepts what can run. Of PKWARE's
APPNOTE.TXT 4.3 and 4.4 only what zip writers make of plain files is accepted: entries that are
stored or deflated and do not overlap, with the directory after them.
"""

from __future__ import annotations

import os
import struct
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = b"PK\3\4"
MAX_FILES = 1000  # entries, folders too
MAX_UNPACKED_BYTES = 10 << 20  # of all files
MAX_RATIO = 100  # unpacked bytes per byte of the archive, if it unpacks to more than RATIO_FROM
RATIO_FROM = 1 << 20
MAX_NAME_BYTES = 255  # of a path

END = struct.Struct("<4s4H2LH")
HEADER = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
ENCRYPTED = 0x2041  # flags: encrypted, strongly, and the directory too
STORED, DEFLATED = 0, 8
KINDS = {0: "", 0o100000: "", 0o040000: "", 0o120000: "a link"}  # of Unix; others are special


class BadArchive(ValueError):
    """Not an archive, damaged, or with entries that could do harm."""


class TooMuch(ValueError):
    """A limit is exceeded: `size` is more than `limit`."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what}, more than the limit of {limit}")
        self.size, self.limit = size, limit


def read(body: bytes) -> dict[str, bytes]:
    """The files of an archive by their paths, none of which leads out of its folder.

    A single top folder is left out of the paths, unless it is a package. Raises BadArchive and
    TooMuch.
    """
    entries, end = directory(body)
    check_sizes(entries, len(body))
    files = {}
    for entry in sorted(entries, key=lambda entry: entry.at, reverse=True):
        content = entry.content(body, end)
        end = entry.at
        # macOS adds this folder to archives
        if not entry.path.endswith("/") and not entry.path.startswith("__MACOSX/"):
            files[entry.path] = content
    check_paths([entry.path for entry in entries])
    if not files:
        raise BadArchive("it holds no files")
    return without_root(dict(sorted(files.items())))


def directory(body: bytes) -> tuple[list[Entry], int]:
    """The entries of the archive's directory, and where the directory starts."""
    at = body.rfind(b"PK\5\6")
    if not body.startswith((MAGIC, b"PK\5\6")) or at < 0 or at + END.size > len(body):
        raise BadArchive("it is not a complete zip archive")
    _, _, _, _, count, size, start, comment = END.unpack_from(body, at)
    if count > MAX_FILES:
        raise TooMuch(f"it has {count} entries", count, MAX_FILES)
    if at + END.size + comment != len(body) or start + size != at:
        raise BadArchive("it is damaged: its directory is misplaced")
    entries, begin = [], start
    while start < at:
        entry = Entry(body, start)
        entries.append(entry)
        start = entry.next
    if start != at or len(entries) != count:
        raise BadArchive("it is damaged: its directory has another size than declared")
    return entries, begin


class Entry:
    """One file or folder, as the directory describes it."""

    def __init__(self, body: bytes, start: int) -> None:
        if body[start : start + 4] != b"PK\1\2" or start + HEADER.size > len(body):
            raise BadArchive("it is damaged: its directory cannot be read")
        fields = HEADER.unpack_from(body, start)
        _, _, _, self.flags, self.method, _, _, self.crc, self.packed, self.size = fields[:10]
        name, extra, comment, _, _, attributes, self.at = fields[10:]
        start += HEADER.size
        self.name = body[start : start + name]
        self.next = start + name + extra + comment
        self.path = path_of(self.name)
        self._check_kind(attributes >> 16 & 0o170000)

    def _check_kind(self, kind: int) -> None:
        what = KINDS.get(kind, "a special file")
        if kind == 0o040000 and not self.path.endswith("/"):
            what = "a folder with a file's name"
        if self.path.endswith("/") and self.size:
            what = "a folder with content"
        if what:
            raise BadArchive(f"{self.path!r} is {what}; only plain files and folders are accepted")

    def content(self, body: bytes, limit: int) -> bytes:
        """The content; `limit` is where the next entry or the directory starts."""
        if body[self.at : self.at + 4] != MAGIC or self.at + LOCAL.size > limit:
            raise self._damaged("its data is misplaced")
        _, _, flags, *_, name, extra = LOCAL.unpack_from(body, self.at)
        start = self.at + LOCAL.size
        end = start + name + extra + self.packed
        if end > limit:
            raise self._damaged("it overlaps with the next")
        if body[start : start + name] != self.name:
            raise self._damaged("its two names differ")
        if (self.flags | flags) & ENCRYPTED:
            raise BadArchive(f"{self.path!r} is encrypted")
        content = self._unpacked(body[end - self.packed : end])
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise self._damaged("its content does not match its size and checksum")
        return content

    def _unpacked(self, data: bytes) -> bytes:
        if self.method == STORED:
            return data
        if self.method != DEFLATED:
            raise BadArchive(f"{self.path!r} is packed by method {self.method}; use deflate")
        unpacker = zlib.decompressobj(-15)
        try:
            # no more than the directory says, since the limits were checked with that
            content = unpacker.decompress(data, self.size + 1)
        except zlib.error:
            raise self._damaged("it cannot be unpacked") from None
        if not unpacker.eof or unpacker.unused_data:
            raise self._damaged("it unpacks to another size than declared")
        return content

    def _damaged(self, problem: str) -> BadArchive:
        return BadArchive(f"{self.path!r} is damaged: {problem}")


def check_sizes(entries: list[Entry], packed: int) -> None:
    """Raise TooMuch before anything is unpacked."""
    size = sum(entry.size for entry in entries)
    if size > MAX_UNPACKED_BYTES:
        raise TooMuch(f"it unpacks to {size} bytes", size, MAX_UNPACKED_BYTES)
    if size > RATIO_FROM and size > packed * MAX_RATIO:
        ratio = size // packed
        raise TooMuch(f"it unpacks to {ratio} times its size", ratio, MAX_RATIO)


def path_of(name: bytes) -> str:
    """A name as a relative path; that of a folder ends in a slash. Raises BadArchive."""
    try:
        path = name.decode()
    except UnicodeDecodeError:
        raise BadArchive(f"the name {name!r:.80} is not UTF-8") from None
    problem = ""
    if len(name) > MAX_NAME_BYTES:
        problem = f"is longer than {MAX_NAME_BYTES} bytes"
    elif not path.isprintable():
        problem = "has an unprintable character"
    elif "\\" in path:
        problem = "has a backslash"
    elif path[:1] == "/" or path[1:2] == ":":
        problem = "is absolute"
    elif {"", ".", ".."}.intersection((path[:-1] if path[-1:] == "/" else path).split("/")):
        problem = "has a part that is empty, . or .."
    if problem:
        raise BadArchive(f"the name {path!r:.80} {problem}")
    return path


def check_paths(paths: Iterable[str]) -> None:
    """Raise BadArchive for two files with one name (in any case), or a file inside a file."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = path.rstrip("/").casefold()
        if folded in seen:
            raise BadArchive(f"{seen[folded]!r} and {path!r} are the same name")
        seen[folded] = path
    for path in paths:
        above = path.rstrip("/").casefold().rpartition("/")[0]
        while above:
            if not seen.get(above, "/").endswith("/"):
                raise BadArchive(f"{seen[above]!r} is a file and a folder")
            above = above.rpartition("/")[0]


def without_root(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files by their paths inside their single top folder, if that is not a package."""
    root = next(iter(files)).partition("/")[0] + "/"
    if root + "__init__.py" in files or not all(path.startswith(root) for path in files):
        return files
    return {path[len(root) :]: content for path, content in files.items()}


def unpack(body: bytes, sandbox: str | None) -> str:
    """Write the files of an archive into `<sandbox>/code/`, or a temporary folder.

    Returns the folder, with a slash at the end. Raises BadArchive and TooMuch before anything is
    written.
    """
    files = read(body)
    folder = os.path.join(os.path.realpath(sandbox), "code") if sandbox else temporary()
    for path, content in files.items():
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)
    return folder + "/"


def temporary() -> str:
    """A folder that is removed when this process exits."""
    # not signal: a file of the archive may have that name
    import _signal as signal  # type: ignore[import-not-found]
    import atexit
    import shutil
    import tempfile

    folder, pid = os.path.realpath(tempfile.mkdtemp(prefix="fob-")), os.getpid()

    def remove() -> None:
        if os.getpid() == pid:  # not a child that the function forked
            shutil.rmtree(folder, ignore_errors=True)

    def stop(*_: object) -> None:
        remove()
        os._exit(0)

    atexit.register(remove)
    for number in (signal.SIGTERM, signal.SIGINT):  # until the runner serves, these end it at once
        signal.signal(number, stop)
    return folder
