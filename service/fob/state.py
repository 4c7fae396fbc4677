"""The state folder: a lock that a process holds until it ends, and durable writes."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fob.errors import Conflict, StorageFailed


@contextmanager
def locked(path: Path, conflict: str) -> Iterator[None]:
    """Hold the lock on the file at `path`; create the file and its folder if necessary.

    The kernel releases the lock when the process ends, however it ends. Raises `Conflict` with the
    message `conflict` if another process holds it, and `StorageFailed` if the folder is unusable.
    """
    fd = _open(path)
    try:
        if not _try_lock(fd):
            raise Conflict(conflict)
        yield
    finally:
        os.close(fd)


def is_locked(path: Path) -> bool:
    """Return whether any process holds the lock. Raises `StorageFailed`."""
    fd = _open(path)
    try:
        return not _try_lock(fd)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageFailed(
            f"The state folder {path.parent} cannot be used: {error.strerror}."
            " Make it writable for fob's user, or set FOB_HOME to another folder"
        ) from error


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync(path: Path, how: Callable[[int], None]) -> None:
    """Call `os.fsync` or `os.fdatasync` on the file at `path`.

    Syncing a folder makes the names of its files durable.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        how(fd)
    finally:
        os.close(fd)
