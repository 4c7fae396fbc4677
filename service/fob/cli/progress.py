"""A line that says what is being waited for, on a terminal only."""

import sys
import time
from types import TracebackType
from typing import Self


class Progress:
    """A context that shows one line on standard error while it lasts, and wipes it after."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._started_ns = time.monotonic_ns()
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def show(self, state: str) -> None:
        """Replace the line by `state` and the seconds since the start."""
        if self._terminal:
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
