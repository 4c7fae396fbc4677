"""Imports point down: who may know whom, read from the source."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import live

PACKAGE = live.SERVICE / "fob"
FILES = sorted(PACKAGE.rglob("*.py"))

# what everyone may know
COMMON = {"fob", "fob.errors", "fob.config", "fob.disk", "fob.held", "fob.log", "fob.timeline"}
# the three that may know both sides: they put them together
BOTH_SIDES = {"fob.main", "fob.cli", "fob.demo"}
# the engine's rooms, and what lies beside them: each may know those before it
ENGINE = [
    "programs",
    "refusals",
    "states",
    "pieces",
    "events",
    "definitions",
    "store",
    "machine",
    "launchers",
    "docker",
    "health",
    "tasks",
    "staging",
    "deployments",
    "supervision",
    "changes",
    "api",
    "link",
    "main",
    "__main__",
]


def name_of(file: Path) -> str:
    parts = file.relative_to(live.SERVICE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file: Path) -> set[str]:
    """The modules of fob that a file imports anywhere in it, by full name."""
    return _imports(file, ast.walk(ast.parse(file.read_bytes())))


def imports_at_work(file: Path) -> set[str]:
    """Those of them that are there when it runs, and not for its annotations alone."""
    return _imports(file, _at_work(ast.parse(file.read_bytes())))


def _at_work(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _at_work(node)


def _imports(file: Path, nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            found |= {_imported(str(node.module), alias.name) for alias in node.names}
    return {name for name in found if name == "fob" or name.startswith("fob.")}


def _imported(module: str, name: str) -> str:
    """`from module import name` as a module's name, `name` being one or something in it."""
    base = live.SERVICE.joinpath(*module.split("."), name)
    is_module = base.with_suffix(".py").exists() or (base / "__init__.py").exists()
    return f"{module}.{name}" if is_module else module


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def files_outside(*packages: str) -> Iterator[Path]:
    return (f for f in FILES if not any(is_in(name_of(f), package) for package in packages))


def files_in(*packages: str) -> list[Path]:
    return [f for f in FILES if any(is_in(name_of(f), package) for package in packages)]


def reads_environment(file: Path) -> bool:
    tree = ast.parse(file.read_bytes())
    named = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute | ast.alias)
    }
    return bool(named & {"environ", "environb", "getenv", "getenvb"})


def test_only_those_who_put_the_parts_together_know_the_engine() -> None:
    outside = files_outside("fob.engine", *BOTH_SIDES)
    knowing = {
        name_of(file): name
        for file in outside
        for name in imports_of(file)
        if is_in(name, "fob.engine")
    }
    assert knowing == {}


@pytest.mark.parametrize("file", files_in("fob.engine"), ids=name_of)
def test_the_engine_knows_nothing_of_functions(file: Path) -> None:
    others = {name for name in imports_of(file) if not is_in(name, "fob.engine")}
    assert others <= COMMON


def room_of(name: str) -> str:
    return name.split(".")[2]


def test_the_engines_rooms_are_all_in_order() -> None:
    rooms = {room_of(name) for name in map(name_of, FILES) if name.startswith("fob.engine.")}
    assert rooms == set(ENGINE)


@pytest.mark.parametrize("room", ENGINE)
def test_a_room_of_the_engine_knows_only_those_below_it(room: str) -> None:
    below = ENGINE[: ENGINE.index(room) + 1]
    knowing = {
        name_of(file): name
        for file in files_in(f"fob.engine.{room}")
        for name in imports_at_work(file)
        if name.startswith("fob.engine.") and room_of(name) not in below
    }
    assert knowing == {}


@pytest.mark.parametrize("file", files_in("fob.engine.programs"), ids=name_of)
def test_the_engines_programs_know_nothing_of_fob(file: Path) -> None:
    assert imports_of(file) == set()


@pytest.mark.parametrize("file", files_in("fob.marathon"), ids=name_of)
def test_the_marathon_client_knows_nothing_of_functions(file: Path) -> None:
    others = {name for name in imports_of(file) if not is_in(name, "fob.marathon")}
    assert others <= COMMON | {"fob.message"}


@pytest.mark.parametrize("file", [PACKAGE / "runner.py", *files_in("fob.parts")], ids=name_of)
def test_the_runner_and_its_parts_know_nothing_of_fob(file: Path) -> None:
    assert imports_of(file) == set()


def test_the_verbs_know_nothing_of_http() -> None:
    knowing = {
        name_of(file): name
        for file in files_outside("fob.dispatcher", "fob.main")
        for name in imports_of(file)
        if is_in(name, "fob.dispatcher")
    }
    assert knowing == {}


def test_nobody_imports_the_command_line() -> None:
    knowing = {
        name_of(file)
        for file in files_outside("fob.cli", "fob.__main__")
        for name in imports_of(file)
        if is_in(name, "fob.cli")
    }
    assert knowing == set()


def test_the_environment_is_read_in_one_module_only() -> None:
    readers = {name_of(file) for file in FILES if reads_environment(file)}
    # a task's environment is its own: the runner and its parts read it, the zygote makes it
    tasks_own = {"fob.runner", "fob.parts.aws", "fob.engine.programs.zygote"}
    assert readers - tasks_own == {"fob.config"}
