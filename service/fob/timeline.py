"""A timeline: the marks of a registration or of an instance, in the order they happened.

One line a mark, `<monotonic ns> <UTC time> <name>`, so that a file of them can be appended to by
processes that share nothing else, and read back while they write.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Mark:
    """Something happened: `at_ns` on the monotonic clock of its host, `at` for people."""

    name: str
    at_ns: int
    at: str

    def line(self) -> str:
        return f"{self.at_ns} {self.at} {self.name}\n"

    def json(self) -> dict[str, str | int]:
        return {"mark": self.name, "at_ns": self.at_ns, "at": self.at}


def now(name: str) -> Mark:
    """The mark `name`, made this instant."""
    return Mark(name, time.monotonic_ns(), utc_now())


def utc_now() -> str:
    """UTC as Marathon writes it: `2016-04-02T23:09:47.123Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> list[Mark]:
    """The marks in `text`; a line that is not one (cut off by a crash) is passed over."""
    marks = []
    for line in text.splitlines():
        at_ns, _, rest = line.partition(" ")
        at, _, name = rest.partition(" ")
        if at_ns.isascii() and at_ns.isdigit() and at and name:
            marks.append(Mark(name, int(at_ns), at))
    return marks


def seconds_since(utc: str) -> float:
    """How long ago that was, as `utc_now` writes times."""
    return (datetime.now(UTC) - datetime.fromisoformat(utc)).total_seconds()
