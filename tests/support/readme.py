"""The README's commands, for tests that run them as a reader would."""

import re
from dataclasses import dataclass

import live

README = (live.ROOT / "README.md").read_text()
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass
class Step:
    """A command of the README and what it says that the command prints."""

    command: str
    output: str


def steps(heading: str) -> list[Step]:
    """The commands of one section, without those of the sections in it."""
    (section,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", README, re.M | re.DOTALL)
    found: list[Step] = []
    for block in BLOCK.findall(section):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            found.append(Step(command, output))
    return found
