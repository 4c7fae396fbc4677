"""The commands of the README and of docs/dcos.md, for tests that run them as a reader would."""

import re
from dataclasses import dataclass

import live

README = (live.ROOT / "README.md").read_text()
DCOS = (live.ROOT / "docs" / "dcos.md").read_text()
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass
class Step:
    """A command of a page, and what the page says it prints."""

    command: str
    output: str


def steps(heading: str, page: str = README) -> list[Step]:
    """The commands of one section of the page, without those of its subsections."""
    (section,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", page, re.M | re.DOTALL)
    found: list[Step] = []
    for block in BLOCK.findall(section):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            found.append(Step(command, output))
    return found
