"""The pipes a task writes to: its output is kept in its folder, its marks are told."""

import asyncio
import ctypes
import functools
import os
from collections.abc import Callable

from fob import timeline
from fob.engine.runtime.task_folders import CHUNK_BYTES, PIPES, TaskFolder


class Pipes:
    """The engine's ends of a task's pipes, read as data comes."""

    def __init__(self, folder: TaskFolder, on_mark: Callable[[timeline.Mark], None]) -> None:
        self._folder = folder
        self._on_mark = on_mark
        self._partial = b""
        self._told_bytes = 0  # of marks, still in their pipe
        self._fds: dict[str, int] = {}

    def open(self) -> None:
        loop = asyncio.get_running_loop()
        for name in PIPES:
            fd = os.open(self._folder.pipe(name), os.O_RDONLY | os.O_NONBLOCK)
            self._fds[name] = fd
            loop.add_reader(fd, self._read, name)

    def task_end(self, name: str) -> int:
        """A new descriptor of the task's end of the pipe; the caller closes it."""
        return os.open(self._folder.pipe(name), os.O_RDWR)

    def close(self) -> None:
        """Take what is still in the pipes, then close them."""
        for name in list(self._fds):
            while self._read(name):
                pass
            self._shut(name)

    def _shut(self, name: str) -> None:
        fd = self._fds.pop(name, None)
        if fd is not None:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)

    def _read(self, name: str) -> bool:
        """Take one chunk; False when there is none now, or never again."""
        if name not in self._fds:
            return False
        try:
            data = self._marks() if name == "marks" else os.read(self._fds[name], CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._shut(name)
        elif name != "marks":
            self._folder.append(name, data)
        return bool(data)

    def _marks(self) -> bytes:
        """Tell a chunk of marks. They are taken out of the pipe when all has been done that was to
        be done about them in this turn of the loop: no task says twice that it listens, and an
        engine that is killed before would keep that from the next."""
        self._take_told()
        data = peek(self._fds["marks"])
        try:
            self._tell(data)
        finally:
            self._told_bytes = len(data)
            asyncio.get_running_loop().call_soon(self._take_told)
        return data

    def _take_told(self) -> None:
        if self._told_bytes and "marks" in self._fds:
            os.read(self._fds["marks"], self._told_bytes)
        self._told_bytes = 0

    def _tell(self, data: bytes) -> None:
        lines, _, self._partial = (self._partial + data).rpartition(b"\n")
        self._partial = self._partial[-CHUNK_BYTES:]
        for mark in timeline.parse(lines.decode("utf-8", "replace")):
            self._on_mark(mark)


def peek(pipe: int) -> bytes:
    """What could be read from the descriptor `pipe` now, and still can be afterwards; nothing when
    there is no writer either. Raises `BlockingIOError` when there is nothing yet."""
    reader, writer = os.pipe()
    try:
        count = _tee()(pipe, writer, CHUNK_BYTES, os.SPLICE_F_NONBLOCK)
        if count < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return os.read(reader, count) if count else b""
    finally:
        os.close(reader)
        os.close(writer)


@functools.cache
def _tee() -> Callable[[int, int, int, int], int]:
    """tee(2)."""
    tee = ctypes.PyDLL(None, use_errno=True).tee
    tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
    tee.restype = ctypes.c_ssize_t
    return tee
