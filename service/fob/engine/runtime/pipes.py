"""The pipes that a task writes to: its output goes into its folder, its marks to the engine."""

import asyncio
import ctypes
import functools
import os
from collections.abc import Callable

from fob import timeline
from fob.engine.runtime.task_folders import CHUNK_BYTES, PIPES, TaskFolder


class Pipes:
    """The engine's ends of a task's pipes, read as data arrives."""

    # Marks are read twice: first peeked at, then read, which removes them from the pipe, at the
    # start of the loop's next turn. A mark such as `listening` is written once, and the engine
    # stores what follows from it (the task is running) in the turn in which it sees the mark. An
    # engine that is killed within that turn leaves the mark in the pipe, which the task holds open,
    # and the next engine finds it there. With a plain read the mark would be lost, and the task
    # would be starting for ever.

    def __init__(self, folder: TaskFolder, on_mark: Callable[[timeline.Mark], None]) -> None:
        self._folder = folder
        self._on_mark = on_mark
        self._partial_line = b""
        self._peeked_bytes = 0  # of marks that were handled and are still in the pipe
        self._fds: dict[str, int] = {}

    def open(self) -> None:
        loop = asyncio.get_running_loop()
        for name in PIPES:
            fd = os.open(self._folder.pipe(name), os.O_RDONLY | os.O_NONBLOCK)
            self._fds[name] = fd
            loop.add_reader(fd, self._read, name)

    def task_end(self, name: str) -> int:
        """Return a new descriptor for the task's end of the pipe; the caller closes it."""
        # for reading too, so that the task can write while no engine runs: see task_folders.py
        return os.open(self._folder.pipe(name), os.O_RDWR)

    def close(self) -> None:
        """Read what is left in the pipes, then close them."""
        for name in list(self._fds):
            while self._read(name):
                pass
            self._close(name)

    def _close(self, name: str) -> None:
        fd = self._fds.pop(name, None)
        if fd is not None:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)

    def _read(self, name: str) -> bool:
        """Handle one chunk; return False when there is none now, or will be none any more."""
        if name not in self._fds:
            return False
        try:
            data = self._peek_marks() if name == "marks" else os.read(self._fds[name], CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._close(name)
        elif name != "marks":
            self._folder.append(name, data)
        return bool(data)

    def _peek_marks(self) -> bytes:
        """Handle a chunk of marks now, and remove it from the pipe in the loop's next turn."""
        self._remove_peeked()
        data = peek(self._fds["marks"])
        try:
            self._handle_marks(data)
        finally:
            self._peeked_bytes = len(data)
            asyncio.get_running_loop().call_soon(self._remove_peeked)
        return data

    def _remove_peeked(self) -> None:
        if self._peeked_bytes and "marks" in self._fds:
            os.read(self._fds["marks"], self._peeked_bytes)
        self._peeked_bytes = 0

    def _handle_marks(self, data: bytes) -> None:
        lines, _, self._partial_line = (self._partial_line + data).rpartition(b"\n")
        self._partial_line = self._partial_line[-CHUNK_BYTES:]
        for mark in timeline.parse(lines.decode("utf-8", "replace")):
            self._on_mark(mark)


def peek(pipe: int) -> bytes:
    """Return what can be read from the descriptor `pipe`, and leave it there.

    Empty at the end of the file, when there is no writer. Raises `BlockingIOError` when there is
    nothing to read yet.
    """
    # tee(2) duplicates the content of a pipe into another, which is then read
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
    tee = ctypes.PyDLL(None, use_errno=True).tee
    tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
    tee.restype = ctypes.c_ssize_t
    return tee
