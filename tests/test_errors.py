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
