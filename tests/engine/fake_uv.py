"""An installer for tests, at once and offline: it obeys the names it is asked to install."""

import os
from pathlib import Path

_SCRIPT = """#!/bin/sh
# as fob calls it: uv pip install ... --target FOLDER -- REQUIREMENT...
echo "$*" >> {log}
while [ "$1" != --target ]; do shift; done
target=$2
shift 3
for name in "$@"; do
  echo "Installing $name"
  case $name in
    fails*) echo "no solution found for $name" >&2; exit 2;;
    hangs*) exec sleep 1000;;
    grows*) head -c 3000000 /dev/zero > "$target/grown"; exec sleep 1000;;
    dumps*) env > "$target/environment";;
    gated*) read _ < {gates}/$name;;
  esac
  mkdir -p "$target/$name.d"
  echo 1 > "$target/$name.d/data"
  ln -s "$name.d" "$target/$name.link"
  echo "NAME = '$name'" > "$target/$name.py"
done
"""


class FakeUv:
    """A `uv` in `folder`. `gated<x>` waits until the gate of that name is opened."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._log = folder / "log"
        self._log.touch()
        script = folder / "uv"
        script.write_text(_SCRIPT.format(log=self._log, gates=folder))
        script.chmod(0o755)

    @property
    def path(self) -> str:
        """A PATH on which it comes first."""
        return f"{self._folder}:{os.environ['PATH']}"

    def gate(self, name: str) -> "Gate":
        os.mkfifo(self._folder / name)
        return Gate(self._folder / name)

    def runs(self, name: str = "") -> int:
        """How often it was asked for `name`, or for anything."""
        lines = self._log.read_text().splitlines()
        return sum(name in line.split() or not name for line in lines)


class Gate:
    def __init__(self, fifo: Path) -> None:
        self._fifo = fifo

    def open(self) -> None:
        self._fifo.write_text("\n")
