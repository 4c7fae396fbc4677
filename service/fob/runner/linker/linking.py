"""Links the runner's modules into one program.

Modules of core/ become one namespace: ordered by their imports, without those. Those of features/
and adapters/ become source texts in FEATURES, compiled on first use; what they import of fob they
read from their attribute `core`. Constants of fob.contract are put in as literals. So the program
imports nothing of fob.

The same sources give the same bytes on every machine. `python3 -I -S` runs this too, so it uses the
standard library only, of Python 3.9 or newer.
"""

from __future__ import annotations

import ast
import os

from fob.runner.linker.slimming import Import, minify, slim

RUNNER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONTRACT = os.path.join(os.path.dirname(RUNNER), "contract.py")
PACKAGE = "fob.runner."
FEATURES = "FEATURES"  # the dict in core/feature.py
LAST = "main"  # the module of core that ends with the start of the program


class LinkError(Exception):
    """Sources that cannot be linked; the message names the module and says what to change."""


def link(folder: str = RUNNER) -> bytes:
    """Link the runner in `folder`; return its source. Raises LinkError."""
    constants = _constants()
    core = [Module(folder, "core", name, constants) for name in _names(folder, "core")]
    features = {
        name: Module(folder, room, name, constants)
        for room in ("adapters", "features")
        for name in _names(folder, room)
    }
    literal = ",".join(f"{name!r}:{_quoted(features[name].slim())}" for name in sorted(features))
    # the lines with imports come first, each once; what features/ import of core/ is read later
    head: dict[str, None] = {"from __future__ import annotations": None}
    body = []
    for module in _ordered(core):
        lines, text = module.split()
        head.update(dict.fromkeys(lines))
        body.append(text)
    program = "\n".join([*head, *body]) + "\n"
    return program.replace(f"\n{FEATURES}={{}}\n", f"\n{FEATURES}={{{literal}}}\n").encode()


def _names(folder: str, room: str) -> list[str]:
    files = sorted(os.listdir(os.path.join(folder, room)))
    return [file[:-3] for file in files if file.endswith(".py") and file != "__init__.py"]


def _constants() -> dict[str, object]:
    found: dict[str, object] = {}
    exec(compile(_read(CONTRACT), CONTRACT, "exec", dont_inherit=True), found)
    return found


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:  # so columns are bytes and characters alike
        return file.read()


def _quoted(text: str) -> str:
    """A literal of `text` and a line end, with few escapes: so it packs better than its repr."""
    escaped = text.replace("\\", "\\\\").replace("'''", "''\\'")
    return f"'''{escaped}\n'''"


def _ordered(modules: list[Module]) -> list[Module]:
    """The modules, each after those that it imports, LAST at the end."""
    by_name = {module.name: module for module in modules}
    done: dict[str, Module] = {}

    def add(name: str, above: tuple[str, ...] = ()) -> None:
        if name in above:
            raise LinkError(f"core: {' imports '.join((*above, name))}")
        if name not in done:
            for other in by_name[name].needs:
                add(other, (*above, name))
            done[name] = by_name[name]

    for name in sorted(by_name, key=lambda name: (name == LAST, name)):
        add(name)
    if list(done)[-1] != LAST:
        raise LinkError(f"core: nothing may import {LAST}")
    return list(done.values())


class Module:
    """One source file, and what linking makes of it."""

    def __init__(self, folder: str, room: str, name: str, constants: dict[str, object]) -> None:
        self.room, self.name, self.constants = room, name, constants
        self.source = _read(os.path.join(folder, room, name + ".py"))
        self.tree = ast.parse(self.source)

    @property
    def needs(self) -> list[str]:
        """The modules of core that must come before this one."""
        imports = [node for node in self.tree.body if isinstance(node, ast.ImportFrom)]
        prefix = PACKAGE + "core."
        return [
            node.module[len(prefix) :]
            for node in imports
            if node.module and node.module.startswith(prefix)
        ]

    def slim(self) -> str:
        """The source of a feature, as it travels."""
        return slim(self.source, self._linked)

    def split(self) -> tuple[list[str], str]:
        """The lines of a module of core that import or set constants; and everything else."""
        lines: list[str] = []

        def linked(node: Import) -> list[str] | None:
            statements = self._linked(node)
            if node.col_offset:
                return statements
            if statements is None:
                statements = [minify(ast.get_source_segment(self.source, node) or "")]
            lines.extend(statements)
            return []

        return lines, slim(self.source, linked)

    def _linked(self, node: Import) -> list[str] | None:
        """The statements that replace an import in the linked program; None if it stays."""
        if isinstance(node, ast.Import) or not node.module or not node.module.startswith("fob"):
            if isinstance(node, ast.Import) and any(a.name.startswith("fob") for a in node.names):
                raise self._error(node, "import names from a module of fob")
            return None
        if any(alias.asname for alias in node.names):
            raise self._error(node, "an import of fob may not rename")
        names = [alias.name for alias in node.names]
        if node.module == "fob.contract":
            return [f"{name}={self.constants[name]!r}" for name in names]
        room, _, name = node.module[len(PACKAGE) :].partition(".")
        if not node.module.startswith(PACKAGE) or room not in ("core", "features", "adapters"):
            raise self._error(node, "the runner imports only its own modules, and fob.contract")
        if self.room == "core":
            if room != "core" or node.col_offset:
                raise self._error(node, "core imports core, at the top; it loads with feature()")
            return []
        if room == "core":
            return [f"{name}=core.{name}" for name in names]
        if not name:
            return [f"{name}=core.feature({name!r})" for name in names]
        return [f"_=core.feature({name!r})", *(f"{name}=_.{name}" for name in names)]

    def _error(self, node: ast.stmt, message: str) -> LinkError:
        return LinkError(f"{self.room}/{self.name}.py, line {node.lineno}: {message}")
