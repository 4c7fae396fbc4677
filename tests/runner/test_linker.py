"""The runner as one program: linked from its modules, slim, and kept packed in the package."""

import ast
import base64
import os
import re
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import live
from fob import contract
from fob.functions import app_definition
from fob.functions.app_definition import PlacementSettings
from fob.functions.options import Options
from fob.runner.linker import linking, packing
from fob.runner.linker.slimming import minify, slim
from running import PROGRAM, Start

RUNNER = live.SERVICE / "fob" / "runner"
CORE = sorted((RUNNER / "core").glob("[!_]*.py"))
FEATURES = sorted(
    file for room in ("features", "adapters") for file in (RUNNER / room).glob("[!_]*")
)
MAX_ENCODED_BYTES = 56 * 1024  # of the environment value with an empty snippet


def env_value(snippet: bytes = b"") -> str:
    id_ = "0e38b688-86e3-4966-9060-cf01eef59426"
    app = app_definition.app(
        id_, snippet, Options(), "2016-04-02T23:09:47.123Z", PlacementSettings()
    )
    return str(app["env"]["FOB_FUNCTION"])


def carried() -> dict[str, str]:
    """The sources of features and adapters in the linked program."""
    tree = ast.parse(PROGRAM, feature_version=(3, 9))
    [literal] = [
        n.value for n in tree.body if isinstance(n, ast.Assign) and is_named(n, "FEATURES")
    ]
    found: dict[str, str] = ast.literal_eval(literal)
    return found


def is_named(node: ast.Assign, name: str) -> bool:
    return isinstance(node.targets[0], ast.Name) and node.targets[0].id == name


# the kept file


def test_the_kept_file_is_what_the_sources_link_to() -> None:
    assert linking.link() == PROGRAM, "the runner's sources have changed: run `make runner`"


def test_the_packed_runner_unpacks_with_a_snippet_behind_it() -> None:
    unpacked = zlib.decompress(base64.b64decode(env_value(b"def f(): pass")))
    assert unpacked == PROGRAM + b"\0def f(): pass"


def test_every_app_begins_with_the_same_characters() -> None:
    text, _ = packing.packed_runner()
    assert text == packing.PACKED.read_text().rstrip("\n")
    assert all(env_value(snippet).startswith(text) for snippet in (b"", b"x = 1", os.urandom(999)))


def test_the_runner_leaves_room_for_the_snippet() -> None:
    assert len(env_value()) <= MAX_ENCODED_BYTES


def test_nothing_in_the_program_ends_it_before_the_snippet() -> None:
    assert b"\0" not in PROGRAM


# linking


def test_the_program_carries_every_feature() -> None:
    assert list(carried()) == sorted(file.stem for file in FEATURES)


def test_the_program_imports_nothing_of_fob() -> None:
    texts = [PROGRAM.decode(), *carried().values()]
    assert [text for text in texts if re.search(r"^\s*(import|from) fob", text, re.MULTILINE)] == []


def test_the_program_ends_with_its_start() -> None:
    last = ast.parse(PROGRAM).body[-1]
    assert ast.unparse(last) == "if __name__ == '__main__':\n    main()"


def test_constants_of_the_contract_are_literals() -> None:
    names: dict[str, Any] = {"__name__": "runner"}
    exec(PROGRAM, names)
    assert names["LISTEN_FD"] == contract.LISTEN_FD
    assert f"IDLE_REPLY={contract.IDLE_REPLY!r}" in carried()["idle"]


def defined(file: Path) -> Iterator[str]:
    """The names that a module of core defines at its top."""
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))


def imported(file: Path) -> Iterator[str]:
    """What a module of core imports of the standard library, as `name = from where`."""
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.Import):
            yield from (f"{alias.asname or alias.name} = {alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not str(node.module).startswith("fob"):
            yield from (f"{alias.name} = {node.module}" for alias in node.names)


def test_a_name_in_core_stands_for_one_thing() -> None:
    definitions = Counter(name for file in CORE for name in set(defined(file)))
    del definitions["TYPE_CHECKING"]
    imports = {text for file in CORE for text in imported(file)}
    names = [*definitions.elements(), *(text.split(" = ")[0] for text in imports)]
    names += [name for name in vars(contract) if name in PROGRAM.decode().split("FEATURES")[0]]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_no_function_in_core_rebinds_a_global() -> None:
    nodes = (node for file in CORE for node in ast.walk(ast.parse(file.read_bytes())))
    assert [node.names for node in nodes if isinstance(node, ast.Global)] == []


def test_a_feature_and_an_adapter_have_different_names() -> None:
    assert len({file.stem for file in FEATURES}) == len(FEATURES)


USED = [
    used for file in CORE for used in re.findall(r'\bfeature\("(\w+)"\)\.(\w+)', file.read_text())
]


@pytest.mark.parametrize(("name", "attribute"), USED)
def test_what_core_uses_of_a_feature_exists(name: str, attribute: str) -> None:
    tree = ast.parse(carried()[name])
    assert attribute in [getattr(node, "name", "") for node in tree.body]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import fob.contract\n", "import names from"),
        ("from fob.contract import ENTRY as E\n", "may not rename"),
        ("from fob.errors import FobError\n", "only its own modules"),
        ("def f():\n    from fob.runner.features import cors\n", "core imports core, at the top"),
        ("from fob.runner.features import cors\n", "core imports core, at the top"),
    ],
)
def test_an_import_that_cannot_be_linked_is_named(tmp_path: Path, code: str, words: str) -> None:
    write_runner(tmp_path, main=code)
    with pytest.raises(linking.LinkError, match=rf"core/main\.py, line \d: .*{words}"):
        linking.link(str(tmp_path))


def test_modules_that_import_each_other_are_named(tmp_path: Path) -> None:
    write_runner(
        tmp_path,
        main="from fob.runner.core.a import A\n",
        a="from fob.runner.core.b import B\n",
        b="from fob.runner.core.a import A\n",
    )
    with pytest.raises(linking.LinkError, match="a imports b imports a"):
        linking.link(str(tmp_path))


def write_runner(folder: Path, **core: str) -> None:
    for room in ("core", "features", "adapters"):
        (folder / room).mkdir()
    for name, code in core.items():
        (folder / "core" / f"{name}.py").write_text(code)


# what only people read


@pytest.mark.parametrize(
    ("source", "slimmed"),
    [
        (
            'def f(a: int, *, b: str = "#") -> int:\n    "Docs."\n    return a  # why\n',
            'def f(a,*,b="#"):\n return a',
        ),
        ('class C:\n    "Docs."\n    n: int = 1\n', "class C:\n n:int=1"),
        ('class C:\n    """Docs."""\n', "class C:\n pass"),
        ("if TYPE_CHECKING:\n    import typing\nx: int = 1\n", "x=1"),
        ("TYPE_CHECKING = False\ny = 2\n", "y=2"),
        ("def f():\n    x: int = 1\n    y: int\n", "def f():\n x=1"),
        ("a = b if c else (\n    d,  # one\n)\n", "a=b if c else(d,)"),
        ("x = not 1 in (2 if y else 3, -1)\n", "x=not 1 in(2 if y else 3,-1)"),
        ('x = "a" "b" \'\' ""\n', 'x="a" "b" \'\' ""'),
        ('if x:\n    return f"{a!r:.80} {{" or b"1"\n', 'if x:\n return f"{a!r:.80} {{"or b"1"'),
        ("x = 1 .real + a.b + 1. + .5\n", "x=1 .real+a.b+1.+.5"),
    ],
)
def test_comments_docstrings_types_and_spaces_are_left_out(source: str, slimmed: str) -> None:
    assert slim(source) == slimmed


def test_a_text_over_several_lines_keeps_its_indents() -> None:
    source = 'def f(x):\n    return f"""{x}\n        deep"""\n'
    names: dict[str, Any] = {}
    exec(slim(source), names)
    assert names["f"](1) == "1\n        deep"


@pytest.mark.parametrize(
    "file", [*CORE, *FEATURES, live.SERVICE / "fob" / "http" / "message.py", Path(__file__)]
)
def test_minifying_changes_nothing_that_python_sees(file: Path) -> None:
    source = file.read_text()
    assert ast.dump(ast.parse(minify(source))) == ast.dump(ast.parse(source))


# by hand


def test_by_hand_it_links_in_memory_and_serves(launch: Start) -> None:
    runner = launch("def f(): return 'by hand'", [sys.executable, "-I", "-S", str(RUNNER)])
    assert runner.wait_for("listening"), runner.stderr
    assert runner.call().result == "by hand"
    assert runner.terminate() == 0


def test_by_hand_it_says_what_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(RUNNER)], capture_output=True, text=True, check=False
    )
    assert done.returncode == contract.BAD_START
    assert 'PORT0=8080 FOB_SNIPPET="$(cat f.py)" python3 -I -S service/fob/runner' in done.stderr
