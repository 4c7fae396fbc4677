"""The packages and the Python version that a file requires, from its metadata (PEP 723).

The metadata is a comment block that begins with `# /// script`; its rules are at
https://packaging.python.org/en/latest/specifications/inline-script-metadata/.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from fob import contract
from fob.errors import BadRequest

# They travel in one environment variable, and are arguments of the installer.
MAX_REQUIREMENTS_BYTES = 16 * 1024
# Parsing takes quadratic time, for keys and for continued lines.
MAX_METADATA_BYTES = 20 * 1024
MAX_REQUIREMENTS_FILE_BYTES = 64 * 1024
# How much longer Marathon waits for a task that installs dependencies before it listens.
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
        """Return the variables that carry them to the engine or the runner; none if empty."""
        if not self:
            return {}
        return {
            contract.REQUIREMENTS: "\n".join(self.requirements),
            contract.REQUIRES_PYTHON: self.requires_python,
        }


NONE = Dependencies()


def of_app(app: Mapping[str, Any]) -> Dependencies:
    """Return the dependencies that `Dependencies.env` put into an app."""
    env = app.get("env") or {}
    requirements = env.get(contract.REQUIREMENTS, "").splitlines()
    return Dependencies(tuple(requirements), env.get(contract.REQUIRES_PYTHON, ""))


def of_source(text: str) -> Dependencies:
    """Return the dependencies that a Python file declares.

    Raises `BadRequest` with the code `bad_metadata` and the line of the mistake (also in details).
    """
    blocks = [block for block in _blocks(text) if block.kind == "script"]
    if len(blocks) > 1:
        _fail(blocks[1].line, "begins a second block '# /// script'; only one is allowed")
    return blocks[0].dependencies() if blocks else Dependencies()


def of_requirements_file(text: str) -> Dependencies:
    """Return the dependencies in the text of a requirements.txt.

    One requirement per line; comments and continued lines are allowed. Raises `BadRequest` with
    the code `bad_requirements` and the line for everything else that pip accepts: its options
    would change where packages come from, or read other files.
    """
    if (size := len(text.encode())) > MAX_REQUIREMENTS_FILE_BYTES:
        _fail(1, f"begins {size} bytes; the limit is {MAX_REQUIREMENTS_FILE_BYTES}", _FILE)
    found = []
    for number, line in _logical_lines(text):
        if line.startswith("-") or re.search(r"\s--?\w", line):
            _fail(number, f"has an option; only requirements are allowed: {line!r:.200}", _FILE)
        found.append(_requirement(line, number, _FILE))
    return Dependencies(_combined(found, 1, _FILE))


# Metadata in a file


@dataclass(frozen=True)
class _Block:
    """A metadata block: its `kind`, the `line` it begins at (from 1), and its TOML."""

    kind: str
    line: int
    toml: tuple[str, ...]

    def dependencies(self) -> Dependencies:
        table = self._table()
        return Dependencies(
            self._requirements(table.get("dependencies", [])),
            self._requires_python(table.get("requires-python", "")),
        )

    def _table(self) -> dict[str, Any]:
        text = "\n".join(self.toml) + "\n"
        if (size := len(text.encode())) > MAX_METADATA_BYTES:
            limit = MAX_METADATA_BYTES
            _fail(self.line, f"begins a block of {size} bytes; the limit is {limit}")
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            place = _TOML_PLACE.search(str(error))
            line = int(place[1]) if place and place[1] else len(self.toml)
            _fail(self.line + line, f"is not TOML: {_TOML_PLACE.sub('', str(error))}")
        except RecursionError:
            _fail(self.line, "begins a block that is nested too deeply")

    def _requirements(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            line = self._line_of("dependencies")
            _fail(line, 'needs a list of strings: dependencies = ["name>=1.0"]')
        found = [_requirement(text, self._line_of(text, "dependencies")) for text in value]
        return _combined(found, self._line_of("dependencies"))

    def _requires_python(self, value: Any) -> str:
        line = self._line_of("requires-python")
        if not isinstance(value, str):
            _fail(line, 'needs a string: requires-python = ">=3.11"')
        return _specifiers(value, line)

    def _line_of(self, *texts: str) -> int:
        """Return the line with the first of `texts` that occurs, or the block's first line."""
        for text in texts:
            for number, line in enumerate(self.toml, self.line + 1):
                if text in line:
                    return number
        return self.line


def _blocks(text: str) -> Iterable[_Block]:
    """Yield the blocks in `text`: a start line, comment lines, and the last end line among them.

    A block without an end line is ignored.
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
    """Yield non-empty lines with the number each begins at, without comments, continued lines
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


# Requirements and versions. `packaging` is imported on demand: it takes 30 ms, and most files have
# no dependencies.

_METADATA = ("bad_metadata", "The file's metadata is wrong")
_FILE = ("bad_requirements", "requirements.txt is wrong")
_Where = tuple[str, str]  # code of the error, and how its message begins


def _requirement(text: str, line: int, where: _Where = _METADATA) -> str:
    """Return the requirement `text` in normal form."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    shown = f"{text!r:.200}"
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        _fail(line, f"has {shown}, which is not a requirement: {reason}", where)
    except RecursionError:
        _fail(line, f"has {shown}, which is nested too deeply", where)
    if not text.isprintable():  # they travel one per line
        _fail(line, f"has {shown}, which is not a requirement of one line", where)
    if requirement.url and not requirement.url.lower().startswith("https://"):
        _fail(line, f"has {shown}: only https:// URLs are allowed, no file and no VCS", where)
    requirement.name = canonicalize_name(requirement.name)
    requirement.extras = {canonicalize_name(extra) for extra in requirement.extras}
    return str(requirement)


def _combined(requirements: list[str], line: int, where: _Where = _METADATA) -> tuple[str, ...]:
    size = len("\n".join(requirements).encode())
    if size > MAX_REQUIREMENTS_BYTES:
        limit = MAX_REQUIREMENTS_BYTES
        _fail(line, f"has {size} bytes of requirements; the limit is {limit}", where)
    return tuple(sorted(set(requirements)))


def _specifiers(text: str, line: int) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return str(SpecifierSet(text))
    except InvalidSpecifier:
        shown = f"{text!r:.80}"
        _fail(line, f"has requires-python = {shown}, which is not a version range like '>=3.11'")


def _fail(line: int, problem: str, where: _Where = _METADATA) -> NoReturn:
    code, begin = where
    raise BadRequest(f"{begin}: line {line} {problem}", code=code, details={"line": line})
