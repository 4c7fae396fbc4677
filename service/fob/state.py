"""The state folder: a lock that one process holds until it ends, and writes that the disk has."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fob.errors import Conflict, StorageFailed


@contextmanager
def held(lock: Path, conflict: str) -> Iterator[None]:
    """Hold the file, which is made if need be, as the folder is.

    Raises `Conflict` with the message `conflict` when another process does, and `StorageFailed`
    when the folder cannot be used.
    """
    fd = _opened(lock)
    try:
        if not _taken(fd):
            raise Conflict(conflict)
        yield
    finally:
        os.close(fd)


def is_held(lock: Path) -> bool:
    """Whether some process holds it. Raises `StorageFailed`."""
    fd = _opened(lock)
    try:
        return not _taken(fd)
    finally:
        os.close(fd)


def _opened(lock: Path) -> int:
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageFailed(
            f"The state folder {lock.parent} cannot be used: {error.strerror}."
            " Give it to fob's user, or set FOB_HOME to another"
        ) from error


def _taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync(path: Path, how: Callable[[int], None]) -> None:
    """`os.fsync` or `os.fdatasync` the file at `path`, or a folder: the names of its files."""
    fd = os.open(path, os.O_RDONLY)
    try:
        how(fd)
    finally:
        os.close(fd)
