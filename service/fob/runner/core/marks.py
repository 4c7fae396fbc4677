"""Marks of an instance's timeline."""

from __future__ import annotations

import os
import time


class Marks:
    """Writes marks to the engine's pipe, or to a file in the sandbox."""

    def __init__(self, fd: int | None, sandbox: str | None) -> None:
        self.fd, self.sandbox = fd, sandbox
        self.held = b""

    def add(self, name: str, hold: bool = False) -> None:
        """Write a mark. `hold` keeps it until the next one: each write wakes the engine."""
        at_ns, seconds = time.monotonic_ns(), time.time()
        utc = "{}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*time.gmtime(seconds))
        line = self.held + f"{at_ns} {utc}.{int(seconds % 1 * 1000):03d}Z {name}\n".encode()
        self.held = line if hold else b""
        if not hold:
            self._write(line)

    def _write(self, line: bytes) -> None:
        try:
            if self.fd is not None:
                os.write(self.fd, line)
            elif self.sandbox:
                with open(os.path.join(self.sandbox, "timeline"), "ab", 0) as file:
                    file.write(line)
        except OSError:  # a timeline without readers is no reason not to serve
            pass
