"""The runner's parts: they travel with it, and all of it stays small."""

import ast
import re
from typing import Any

import pytest

import live
from fob.functions import app_definition, bundle
from fob.functions.app_definition import PlacementSettings
from fob.functions.options import Options

FOB = live.SERVICE / "fob"
PARTS = sorted(file for file in (FOB / "parts").glob("*.py") if file.stem != "__init__")
BUNDLE = bundle.bundle(FOB / "runner.py", FOB / "parts")
BUNDLE_BYTES = 56 * 1024  # of the environment value with an empty snippet


def env_value(snippet: bytes = b"") -> str:
    id_ = "0e38b688-86e3-4966-9060-cf01eef59426"
    app = app_definition.app(
        id_, snippet, Options(), "2016-04-02T23:09:47.123Z", PlacementSettings()
    )
    return str(app["env"]["FOB_FUNCTION"])


def test_runner_and_parts_leave_room_for_the_snippet() -> None:
    assert len(env_value()) <= BUNDLE_BYTES


def test_the_bundle_carries_every_part() -> None:
    tree = ast.parse(BUNDLE, feature_version=(3, 9))
    [parts] = [node.value for node in tree.body if isinstance(node, ast.AnnAssign)][:1]
    assert parts is not None
    carried = ast.literal_eval(parts)
    assert carried == {file.stem: bundle.slim(file.read_text()) + "\n" for file in PARTS}


def test_nothing_in_the_bundle_ends_it_before_the_snippet() -> None:
    assert b"\0" not in BUNDLE


def test_the_bundle_is_without_what_only_people_read() -> None:
    source = 'def f(a: int, *, b: str = "#") -> int:\n    "Docs."\n    return a  # why\n'
    assert bundle.slim(source) == "def f(a, *, b='#'):\n return a"
    assert bundle.slim('class C:\n    "Docs."\n    n: int = 1\n') == "class C:\n n: int = 1"
    assert bundle.slim("if TYPE_CHECKING:\n    import typing\nx: int = 1\n") == "x: int = 1"
    assert bundle.slim("def f():\n    x: int = 1\n    y: int\n") == "def f():\n x = 1"


def test_a_text_over_several_lines_keeps_its_indents() -> None:
    source = 'def f(x):\n    return f"""{x}\n        deep"""\n'
    names: dict[str, Any] = {}
    exec(bundle.slim(source), names)
    assert names["f"](1) == "1\n        deep"


@pytest.mark.parametrize("name", re.findall(r'\bpart\("(\w+)"\)', (FOB / "runner.py").read_text()))
def test_the_runner_asks_for_no_part_that_is_not_there(name: str) -> None:
    assert name in [file.stem for file in PARTS]
