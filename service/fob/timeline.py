"""A timeline: the marks of a registration or an instance, in order.

Each mark is one line, `<monotonic ns> <UTC time> <name>`, so several processes can append to one
file while others read it.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Mark:
    """An event: `at_ns` is its time on the host's monotonic clock, `at` the same in UTC."""

    name: str
    at_ns: int
    at: str

    def line(self) -> str:
        return f"{self.at_ns} {self.at} {self.name}\n"

    def json(self) -> dict[str, str | int]:
        return {"mark": self.name, "at_ns": self.at_ns, "at": self.at}


def now(name: str) -> Mark:
    """Return the mark `name` with the current time."""
    return Mark(name, time.monotonic_ns(), utc_now())


def utc_now() -> str:
    """Return the current time as Marathon writes it: `2016-04-02T23:09:47.123Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> list[Mark]:
    """Return the marks in `text`, skipping malformed lines (a crash can cut one off)."""
    marks = []
    for line in text.splitlines():
        at_ns, _, rest = line.partition(" ")
        at, _, name = rest.partition(" ")
        if at_ns.isascii() and at_ns.isdigit() and at and name:
            marks.append(Mark(name, int(at_ns), at))
    return marks


def seconds_since(utc: str) -> float:
    """Return the seconds since `utc`, a time as `utc_now` writes it."""
    return (datetime.now(UTC) - datetime.fromisoformat(utc)).total_seconds()
