"""What calls print: kept for their responses, and passed on to the log."""

from __future__ import annotations

import contextvars
import io
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_OUTPUT_BYTES = 1 << 20  # of a call, kept for its response
MAX_LINE_BYTES = 8192  # of a line held back until it is complete


def write_all(fd: int, data: bytes | bytearray) -> None:
    """Write to a log. One that is full, closed or gone must not fail the call."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        pass


def log(text: str) -> None:
    write_all(2, text.encode("utf-8", "backslashreplace"))


class Output:
    """What one call prints. It reaches the log line by line, so lines of calls do not mix."""

    # class attributes: most calls print nothing, and should not pay for buffers
    printed = truncated = False

    def write(self, data: bytes) -> None:
        if not self.printed:
            # setdefault, because another thread of the same call may print at this moment
            self.kept: bytearray = vars(self).setdefault("kept", bytearray())
            self.line: bytearray = vars(self).setdefault("line", bytearray())
            self.printed = True
        room = MAX_OUTPUT_BYTES - len(self.kept)
        self.kept += data[:room]
        self.truncated = self.truncated or len(data) > room
        self.line += data
        if b"\n" in data or len(self.line) > MAX_LINE_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.printed and self.line:
            line, self.line = self.line, bytearray()
            write_all(1, line)

    def text(self) -> str:
        return self.kept.decode("utf-8", "replace") if self.printed else ""

    def add_to(self, content: dict[str, Any]) -> None:
        """Add the output to the JSON object of a response."""
        self.flush()
        if text := self.text():
            content["output"] = text
        if self.truncated:
            content["output_truncated"] = True


# a context variable, so that it follows a call into coroutines as well as into its thread
OUTPUT: contextvars.ContextVar[Output | None] = contextvars.ContextVar("output", default=None)


class Stdout(io.BufferedIOBase):
    """The bytes under `sys.stdout`: they go to the call that prints them, otherwise to the log."""

    name = "<stdout>"

    def write(self, data: Any) -> int:
        output = OUTPUT.get()
        if output is None:
            write_all(1, data)
        else:
            output.write(bytes(data))
        return len(data)

    def fileno(self) -> int:
        return 1

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open: later calls print too."""


def make_stdout() -> io.TextIOWrapper:
    return io.TextIOWrapper(
        Stdout(), encoding="utf-8", errors="backslashreplace", write_through=True
    )
