"""What a file needs to run: the packages and the Python it names in its own metadata.

The metadata is that of PEP 723, a comment block that begins with `# /// script`; the rules are at
https://packaging.python.org/en/latest/specifications/inline-script-metadata/.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from fob import contract
from fob.errors import BadRequest

# they travel in one environment value, and are arguments of the installer
REQUIREMENTS_BYTES = 16 * 1024
# reading takes time in the square of the length, for keys and continued lines
METADATA_BYTES = 20 * 1024
REQUIREMENTS_FILE_BYTES = 64 * 1024
# Marathon's patience with a task that installs before it listens
INSTALL_SECONDS = 300

_START = re.compile(r"# /// ([a-zA-Z0-9-]+)")
_END = "# ///"
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")


@dataclass(frozen=True)
class Dependencies:
    """`requirements` by PEP 508, normalised and sorted; `requires_python` by PEP 440, or empty."""

    requirements: tuple[str, ...] = ()
    requires_python: str = ""

    def __bool__(self) -> bool:
        return bool(self.requirements or self.requires_python)

    def json(self) -> dict[str, Any]:
        return {
            "requirements": list(self.requirements),
            "requires_python": self.requires_python,
        }

    def env(self) -> dict[str, str]:
        """The variables that tell whoever starts the function; none when there are no needs."""
        if not self:
            return {}
        return {
            contract.REQUIREMENTS: "\n".join(self.requirements),
            contract.REQUIRES_PYTHON: self.requires_python,
        }


NONE = Dependencies()


def of_app(app: Mapping[str, Any]) -> Dependencies:
    """The needs that `Needs.env` put into an app."""
    env = app.get("env") or {}
    requirements = env.get(contract.REQUIREMENTS, "").splitlines()
    return Dependencies(tuple(requirements), env.get(contract.REQUIRES_PYTHON, ""))


def of_source(text: str) -> Dependencies:
    """The needs that a Python file names.

    Raises `BadRequest` `bad_metadata` with the line (also in details) where the metadata is wrong.
    """
    blocks = [block for block in _blocks(text) if block.kind == "script"]
    if len(blocks) > 1:
        _refuse(blocks[1].line, "begins a second block '# /// script'; there can be one")
    return blocks[0].needs() if blocks else Dependencies()


def of_requirements_file(text: str) -> Dependencies:
    """The needs in the text of a requirements.txt: one requirement a line, comments, continuations.

    Raises `BadRequest` `bad_requirements` with the line for all else that pip would take: options
    would change where packages come from, or read other files.
    """
    if (size := len(text.encode())) > REQUIREMENTS_FILE_BYTES:
        _refuse(1, f"begins {size} bytes, and {REQUIREMENTS_FILE_BYTES} is the most", _FILE)
    found = []
    for number, line in _logical_lines(text):
        if line.startswith("-") or re.search(r"\s--?\w", line):
            _refuse(number, f"has an option, and only requirements are taken: {line!r:.200}", _FILE)
        found.append(_requirement(line, number, _FILE))
    return Dependencies(_together(found, 1, _FILE))


# metadata in a file


@dataclass(frozen=True)
class _Block:
    """A metadata block: its `kind`, the `line` it begins at (from 1), and its TOML."""

    kind: str
    line: int
    toml: tuple[str, ...]

    def needs(self) -> Dependencies:
        table = self._table()
        return Dependencies(
            self._requirements(table.get("dependencies", [])),
            self._requires_python(table.get("requires-python", "")),
        )

    def _table(self) -> dict[str, Any]:
        text = "\n".join(self.toml) + "\n"
        if (size := len(text.encode())) > METADATA_BYTES:
            most = METADATA_BYTES
            _refuse(self.line, f"begins a block of {size} bytes, and {most} is the most")
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = _TOML_PLACE.search(str(error))
            line = int(place[1]) if place and place[1] else len(self.toml)
            _refuse(self.line + line, f"is not TOML: {_TOML_PLACE.sub('', str(error))}")
        except RecursionError:
            _refuse(self.line, "begins a block that is nested too deeply")

    def _requirements(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            line = self._line_of("dependencies")
            _refuse(line, 'needs a list of texts: dependencies = ["name>=1.0"]')
        found = [_requirement(text, self._line_of(text, "dependencies")) for text in value]
        return _together(found, self._line_of("dependencies"))

    def _requires_python(self, value: Any) -> str:
        line = self._line_of("requires-python")
        if not isinstance(value, str):
            _refuse(line, 'needs a text: requires-python = ">=3.11"')
        return _specifiers(value, line)

    def _line_of(self, *texts: str) -> int:
        """The file's line that has the first of `texts` that is found; else the block's first."""
        for text in texts:
            for number, line in enumerate(self.toml, self.line + 1):
                if text in line:
                    return number
        return self.line


def _blocks(text: str) -> Iterable[_Block]:
    """The blocks in `text`: a start line, comment lines, and the last end line among those.

    One that is never closed is none.
    """
    lines = re.split(r"\r\n?|\n", text)
    index = 0
    while index < len(lines):
        start = _START.fullmatch(lines[index])
        end = _last_end(lines, index) if start else None
        if start and end:
            toml = tuple(line[2:] for line in lines[index + 1 : end])
            yield _Block(start[1], index + 1, toml)
            index = end
        index += 1


def _last_end(lines: list[str], start: int) -> int | None:
    end = None
    for index in range(start + 1, len(lines)):
        if lines[index] != "#" and not lines[index].startswith("# "):
            break
        if lines[index] == _END and index > start + 1:
            end = index
    return end


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines with something on them and the number each begins at: comments cut off, continued ones
    joined."""
    begun, number = "", 0
    for index, line in enumerate(text.splitlines(), 1):
        number = number if begun else index
        begun += re.sub(r"(^|\s)#.*", "", line)
        if begun.endswith("\\"):
            begun = begun[:-1] + " "
            continue
        if begun.strip():
            yield number, begun.strip()
        begun = ""
    if begun.strip():
        yield number, begun.strip()


# requirements and versions; packaging takes 30 ms to import, and most files name none

_METADATA = ("bad_metadata", "The file's metadata is wrong")
_FILE = ("bad_requirements", "requirements.txt is wrong")
_Where = tuple[str, str]  # an error's code, and how its message begins


def _requirement(text: str, line: int, where: _Where = _METADATA) -> str:
    """`text` in its normal form."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    shown = f"{text!r:.200}"
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        _refuse(line, f"has {shown}, which is not a requirement: {reason}", where)
    except RecursionError:
        _refuse(line, f"has {shown}, which is nested too deeply", where)
    if not text.isprintable():  # one a line is how they travel
        _refuse(line, f"has {shown}, which is not a requirement of one line", where)
    if requirement.url and not requirement.url.lower().startswith("https://"):
        _refuse(line, f"has {shown}: only https:// can be taken from, no file and no VCS", where)
    requirement.name = canonicalize_name(requirement.name)
    requirement.extras = {canonicalize_name(extra) for extra in requirement.extras}
    return str(requirement)


def _together(requirements: list[str], line: int, where: _Where = _METADATA) -> tuple[str, ...]:
    size = len("\n".join(requirements).encode())
    if size > REQUIREMENTS_BYTES:
        limit = REQUIREMENTS_BYTES
        _refuse(line, f"has {size} bytes of requirements, and {limit} is the most", where)
    return tuple(sorted(set(requirements)))


def _specifiers(text: str, line: int) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return str(SpecifierSet(text))
    except InvalidSpecifier:
        shown = f"{text!r:.80}"
        _refuse(line, f"has requires-python = {shown}, which is no version range like '>=3.11'")


def _refuse(line: int, problem: str, where: _Where = _METADATA) -> NoReturn:
    code, begin = where
    raise BadRequest(f"{begin}: line {line} {problem}", code=code, details={"line": line})
