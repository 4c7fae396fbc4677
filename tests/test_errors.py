import ast
from pathlib import Path

import pytest

from fob import errors
from fob.errors import FobError

KINDS = {
    n: k for n, k in vars(errors).items() if isinstance(k, type) and k.__module__ == "fob.errors"
}


def test_every_error_has_a_status_and_a_code_of_its_own_kind() -> None:
    assert len(KINDS) > 10
    for kind in KINDS.values():
        assert issubclass(kind, FobError)
        assert 400 <= kind.status < 600
        assert kind.code


def test_the_body_is_the_one_error_shape() -> None:
    error = errors.NotFound("nothing there", details={"a": 1})
    assert error.body() == {
        "error": {"code": "not_found", "message": "nothing there", "details": {"a": 1}}
    }
    assert FobError("x", code="special").body()["error"]["code"] == "special"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    tree = errors.__doc__ or ""
    for name, kind in KINDS.items():
        assert name in tree
        if f"-- {name} " in tree:
            line = next(line for line in tree.splitlines() if f"-- {name} " in line)
            assert str(kind.status) in line


FIELDS = {"status", "code", "message", "details", "headers"}
FOLDER = Path(errors.__file__).parent


def changes(code: str) -> list[int]:
    """The lines that change a field of an object other than `self`."""
    found = []
    for node in ast.walk(ast.parse(code)):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        each = [item for t in targets for item in (t.elts if isinstance(t, ast.Tuple) else [t])]
        found += [
            target.lineno
            for target in each
            if isinstance(target, ast.Attribute) and target.attr in FIELDS
            if not (isinstance(target.value, ast.Name) and target.value.id == "self")
        ]
    return found


@pytest.mark.parametrize("room", ["http", "dispatcher", "functions", "marathon", "source"])
def test_no_error_is_changed_after_it_is_made(room: str) -> None:
    for file in (FOLDER / room).rglob("*.py"):
        assert changes(file.read_text()) == [], file


def test_a_change_of_an_error_is_found() -> None:
    code = "e.status = 1\ne.message += 'x'\nself.code = 2\na, e.code = 3, 4\n"
    assert changes(code) == [1, 2, 4]


def test_the_headers_of_an_error_are_read_only() -> None:
    given = {"Retry-After": "1"}
    error = FobError("busy", headers=given)
    given["Retry-After"] = "2"
    assert error.headers == {"Retry-After": "1"}
    with pytest.raises(TypeError):
        error.headers["Retry-After"] = "3"  # type: ignore[index]
