"""The queries that select apps."""

import pytest

from fob.engine.api import selectors
from fob.engine.definitions import app_definitions
from fob.engine.errors import ApiError

LABELS = {"kind": "x", "FOB_NAME": "birds", "empty": ""}


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", True),
        ("kind", True),
        ("other", False),
        ("kind==x", True),
        ("kind == y", False),
        ("kind!=y", True),
        ("other!=y", True),
        ("kind in (x, y)", True),
        ("kind in (y,z)", False),
        ("kind notin (y, z)", True),
        ("other notin (x)", True),
        ("kind in (x, y), FOB_NAME==birds", True),
        ("kind, other", False),
        ("empty==", True),
    ],
)
def test_label_selectors_follow_marathons_grammar(selector: str, selected: bool) -> None:
    assert selectors.label_selector(selector)(LABELS) is selected


@pytest.mark.parametrize("wrong", ["a b", "==x", "kind in x", "kind of (x)", "(x)", "kind in (x"])
def test_a_malformed_selector_is_refused(wrong: str) -> None:
    with pytest.raises(ApiError) as caught:
        selectors.label_selector(wrong)
    assert caught.value.status == 422


@pytest.mark.parametrize(
    ("id_", "cmd", "selected"),
    [("", "", True), ("/b", "", True), ("B", "", True), ("c", "", False), ("", "SLEEP", True)],
)
def test_ids_and_commands_are_selected_by_substring(id_: str, cmd: str, selected: bool) -> None:
    app = app_definitions.complete({"id": "/a/b", "cmd": "sleep 1"})
    assert selectors.selects(app, id_, cmd, lambda labels: True) is selected
