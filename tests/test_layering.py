"""Who may import whom, read from the source: each room knows only the rooms that its line names.

`python tests/test_layering.py` prints how many rooms and arrows there are.
"""

import ast
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[1] / "service"
FILES = sorted((SERVICE / "fob").rglob("*.py"))

# what every room may know, except those that travel or run alone (ALONE)
LEAVES = ("errors", "config", "log", "timeline", "state", "process", "contract")
# they know nothing of fob: the runner travels inside apps, the programs run by themselves
ALONE = (
    "runner.core",
    "runner.features",
    "runner.adapters",
    "runner.linker",
    "runner.__main__",
    "engine.programs",
)

# Each room, and the rooms that it may import. A line may name only rooms of earlier lines, so what
# holds to the table has no circles. A module beside rooms (engine/main.py) is a room of its own.
ROOMS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(LEAVES, LEAVES),
    "engine.programs": (),
    "runner.core": ("contract",),
    "runner.features": ("contract", "runner.core"),
    "runner.adapters": ("contract", "runner.core", "runner.features"),
    "runner.linker": (),
    "runner.__main__": ("runner.linker",),
    "http": (),
    "marathon": ("http",),
    "source": ("runner.core", "runner.features"),
    "functions": ("runner.linker", "source", "marathon"),
    "dispatcher.guard": (),
    "dispatcher.in_flight": (),
    "dispatcher.gateway": (
        "http",
        "marathon",
        "functions",
        "dispatcher.guard",
        "dispatcher.in_flight",
    ),
    "dispatcher.api": (
        "http",
        "runner.features",
        "source",
        "functions",
        "dispatcher.guard",
        "dispatcher.in_flight",
        "dispatcher.gateway",
    ),
    "dispatcher.front": ("http", "dispatcher.in_flight", "dispatcher.gateway"),
    "engine.errors": (),
    "engine.states": (),
    "engine.chunks": (),
    "engine.events": ("engine.chunks",),
    "engine.definitions": ("engine.programs", "engine.errors", "engine.chunks"),
    "engine.store": ("engine.errors", "engine.chunks", "engine.states", "engine.definitions"),
    "engine.runtime": (
        "engine.programs",
        "engine.chunks",
        "engine.definitions",
        "engine.store",
    ),
    "engine.tasks": (
        "engine.states",
        "engine.definitions",
        "engine.store",
        "engine.runtime",
    ),
    "engine.health": ("engine.definitions", "engine.runtime", "engine.tasks"),
    "engine.control": (
        "engine.errors",
        "engine.states",
        "engine.chunks",
        "engine.events",
        "engine.definitions",
        "engine.store",
        "engine.runtime",
        "engine.tasks",
        "engine.health",
    ),
    "engine.api": (
        "engine.errors",
        "engine.chunks",
        "engine.events",
        "engine.definitions",
        "engine.runtime",
        "engine.tasks",
        "engine.control",
    ),
    "engine.discovery": (),
    "engine.main": (
        "engine.events",
        "engine.definitions",
        "engine.store",
        "engine.runtime",
        "engine.health",
        "engine.control",
        "engine.api",
        "engine.discovery",
    ),
    "engine.__main__": ("engine.main",),
    # the two that put both sides together: the service starts an engine, the command starts either
    "dispatcher.kept_engine": ("engine.discovery",),
    "dispatcher.assembly": (
        "http",
        "marathon",
        "functions",
        "dispatcher.guard",
        "dispatcher.in_flight",
        "dispatcher.gateway",
        "dispatcher.api",
        "dispatcher.front",
        "dispatcher.kept_engine",
    ),
    "dispatcher.main": ("dispatcher.kept_engine", "dispatcher.assembly"),
    "cli": ("runner.features", "source", "dispatcher.main", "engine.main"),
    "__main__": ("cli",),
}


def name_of(file: Path) -> str:
    parts = file.relative_to(SERVICE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in FILES}


def room_of(module: str) -> str:
    """The longest entry of the table that holds the module; its own name when none does."""
    name = module.removeprefix("fob.")
    holders = [room for room in ROOMS if name == room or name.startswith(f"{room}.")]
    return max(holders, key=len, default=name)


def imports_of(tree: ast.AST, name: str = "") -> set[str]:
    """The modules of fob that the code imports anywhere, for annotations alone too."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            found |= {_imported(str(node.module), alias.name) for alias in node.names}
    return {module for module in found if module == "fob" or module.startswith("fob.")}


def _imported(module: str, name: str) -> str:
    """`from module import name` as a module's name, `name` being one or something in it."""
    return f"{module}.{name}" if f"{module}.{name}" in MODULES else module


def hidden_imports_of(tree: ast.AST) -> list[str]:
    """Strings that name a module of fob, or hold code that imports one: readers would miss them."""
    values = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    texts = (value for value in values if isinstance(value, str) and "fob." in value)
    return [text for text in texts if text in MODULES or re.search(r"\b(import|from) fob\.", text)]


@functools.cache
def arrows() -> dict[tuple[str, str], list[str]]:
    """Each pair of rooms of which the first imports the second, with the modules that do."""
    found = defaultdict(list)
    for name, file in MODULES.items():
        for other in imports_of(ast.parse(file.read_bytes()), name):
            if other != "fob" and room_of(other) != room_of(name):
                found[room_of(name), room_of(other)].append(name)
    return found


def circles(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The rooms from which arrows lead back to themselves."""
    leads: dict[str, set[str]] = defaultdict(set)
    for room, other in pairs:
        leads[room].add(other)
    return sorted(room for room in list(leads) if room in _reached(room, leads))


def _reached(room: str, leads: dict[str, set[str]]) -> set[str]:
    reached, ahead = set(), [room]
    while ahead:
        new = leads.get(ahead.pop(), set()) - reached
        reached |= new
        ahead += new
    return reached


def classes() -> Iterator[tuple[str, str]]:
    """Each class that is defined anywhere, with its module."""
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ClassDef):
                yield node.name, name


def reads_environment(file: Path) -> bool:
    named = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Attribute | ast.alias)
    }
    return bool(named & {"environ", "environb", "getenv", "getenvb"})


def allowed(room: str) -> set[str]:
    return set(ROOMS[room]) if room in ALONE else {*ROOMS[room], *LEAVES}


def test_every_module_is_in_a_room() -> None:
    rooms = {room_of(name) for name, file in MODULES.items() if file.name != "__init__.py"}
    assert rooms == set(ROOMS)


def test_the_table_has_no_circles() -> None:
    rooms = [room for room in ROOMS if room not in LEAVES]
    pairs = [(room, other) for room in rooms for other in ROOMS[room] if other not in LEAVES]
    upward = [(r, o) for r, o in pairs if rooms.index(o) >= rooms.index(r)]
    assert upward == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_its_line_names(room: str) -> None:
    others = {other: names for (this, other), names in arrows().items() if this == room}
    assert {other: names for other, names in others.items() if other not in allowed(room)} == {}


@pytest.mark.parametrize("room", ROOMS)
def test_a_line_names_nothing_that_the_room_does_not_import(room: str) -> None:
    imported = {other for this, other in arrows() if this == room}
    assert set(ROOMS[room]) - set(LEAVES) <= imported


def test_there_are_no_circles() -> None:
    assert circles(arrows()) == []


def test_a_circle_is_found() -> None:
    assert circles([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]) == ["a", "b", "c"]


def test_imports_for_annotations_alone_count() -> None:
    code = "if TYPE_CHECKING:\n    from fob.engine.tasks.task import Task\n"
    assert imports_of(ast.parse(code)) == {"fob.engine.tasks.task"}


# the command by which a dispatcher starts its engine, as it is called in its help, and a label of
# the engine's containers
NAMES = {
    "fob.runner.linker.linking": ["fob.contract"],
    "fob.engine.discovery": ["fob.engine"],
    "fob.engine.__main__": ["fob.engine"],
    "fob.engine.runtime.docker.container_config": ["fob.engine"],
}


@pytest.mark.parametrize("name", MODULES)
def test_no_import_hides_in_a_string(name: str) -> None:
    hidden = hidden_imports_of(ast.parse(MODULES[name].read_bytes()))
    assert hidden == NAMES.get(name, [])


@pytest.mark.parametrize(
    "code", ['import_module("fob.engine.main")', 'run("from fob.engine import main")']
)
def test_an_import_in_a_string_is_found(code: str) -> None:
    assert len(hidden_imports_of(ast.parse(code))) == 1


def test_a_class_name_belongs_to_one_module() -> None:
    homes = defaultdict(set)
    for name, module in classes():
        homes[name].add(module)
    assert {name: modules for name, modules in homes.items() if len(modules) > 1} == {}


def test_only_the_leaves_lie_beside_the_rooms() -> None:
    loose = {file.stem for file in (SERVICE / "fob").glob("*.py")}
    assert loose == {"__init__", "__main__", *LEAVES}


def test_the_environment_is_read_in_one_module_only() -> None:
    readers = {name for name, file in MODULES.items() if reads_environment(file)}
    # a task's environment is its own: the runner reads it, the zygote makes it
    tasks_own = {
        "fob.runner.core.startup",
        "fob.runner.core.rehearsal",
        "fob.runner.adapters.aws",
        "fob.engine.programs.zygote",
    }
    assert readers - tasks_own == {"fob.config"}


if __name__ == "__main__":
    pairs = arrows()
    between = [(room, other) for room, other in pairs if other not in LEAVES]
    print(f"{len(ROOMS) - len(LEAVES)} rooms beside {len(LEAVES)} leaves")
    print(f"{len(between)} arrows between them, {len(circles(pairs))} rooms in circles")
