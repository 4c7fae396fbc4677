"""A line of progress on standard error, if that is a terminal."""

import sys
import time
from types import TracebackType
from typing import Self


class Progress:
    """A context manager that shows one line and erases it at the end."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._started_ns = time.monotonic_ns()
        self._is_terminal = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def show(self, state: str) -> None:
        """Replace the line by `state` and the seconds since the start."""
        if self._is_terminal:
            self._shown = True
            seconds = (time.monotonic_ns() - self._started_ns) / 1e9
            sys.stderr.write(f"\r\x1b[K{self._subject}: {state}, {seconds:.0f} s")
            sys.stderr.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
