"""The tree of groups and its updates."""

from typing import Any

import pytest

from fob.engine.definitions import group_tree
from fob.engine.definitions.group_tree import Groups, Tree
from fob.engine.errors import ApiError


def app(id_: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "cmd": "true", **more}


def faults(body: Any, group_id: str = "/g") -> dict[str, list[str]]:
    with pytest.raises(ApiError) as caught:
        group_tree.update(body, group_id, Tree())
    assert caught.value.status == 422
    return {fault["path"]: fault["errors"] for fault in caught.value.body["details"]}


NOW = group_tree.update(
    {
        "apps": [app("one", instances=2)],
        "groups": [{"id": "h", "apps": [app("two", instances=3)]}, {"id": "i"}],
    },
    "/g",
    Tree(),
)


def test_ids_are_relative_to_their_group() -> None:
    assert set(NOW.apps) == {"/g/one", "/g/h/two"}
    assert set(NOW.groups) == {"/g", "/g/h", "/g/i"}


def test_ids_may_be_absolute() -> None:
    body = {"apps": [app("/g/one")], "groups": [{"id": "/g/h"}]}
    tree = group_tree.update(body, "/g", Tree())
    assert (set(tree.apps), set(tree.groups)) == ({"/g/one"}, {"/g", "/g/h"})


def test_dependencies_are_relative_to_their_group() -> None:
    body = {
        "groups": [{"id": "h", "dependencies": ["../i"]}, {"id": "i"}],
        "apps": [app("one", dependencies=["two", "/x"])],
    }
    tree = group_tree.update(body, "/g", Tree())
    assert tree.groups["/g/h"] == ("/g/i",)
    assert tree.apps["/g/one"]["dependencies"] == ["/g/two", "/x"]


def test_an_update_keeps_what_it_does_not_name() -> None:
    assert group_tree.update({}, "/g", NOW) == NOW
    assert group_tree.update({"groups": [{"id": "h"}, {"id": "i"}]}, "/g", NOW) == NOW


def test_a_list_of_apps_replaces_the_apps_directly_in_the_group() -> None:
    tree = group_tree.update({"apps": [app("three")]}, "/g", NOW)
    assert set(tree.apps) == {"/g/three", "/g/h/two"}


def test_a_list_of_groups_replaces_the_groups_in_the_group() -> None:
    tree = group_tree.update({"groups": [{"id": "i"}]}, "/g", NOW)
    assert set(tree.apps) == {"/g/one"}
    assert set(tree.groups) == {"/g", "/g/i"}


def test_scaling_multiplies_and_rounds_up() -> None:
    tree = group_tree.scale(NOW, 1.5)
    assert {id_: a["instances"] for id_, a in tree.apps.items()} == {"/g/one": 3, "/g/h/two": 5}


@pytest.mark.parametrize("wrong", ["2", True, -1, float("inf"), float("nan"), [], 1e300, 10**400])
def test_a_negative_or_non_numeric_factor_is_refused(wrong: Any) -> None:
    with pytest.raises(ApiError, match="valid"):
        group_tree.scale(NOW, wrong)


def test_every_fault_is_named_with_its_path() -> None:
    body = {
        "apps": [app("one", cpus=-1), {"cmd": "true"}, app("/x/y"), app("A_b")],
        "groups": [{"id": "h", "apps": [app("ok"), app("two", mem="x")]}, {}],
        "dependencies": [1],
    }
    assert faults(body) == {
        "/apps(0)/cpus": ["error.min", "got -1.0, expected 0.0 or more"],
        "/apps(1)/id": ["""'id' is undefined on object: {"cmd":"true"}"""],
        "/groups(0)/apps(1)/mem": ["error.expected.jsnumber"],
        "/dependencies": ["error.expected.jsarray"],
    }


def test_contradictions_are_named_when_every_value_can_be_read() -> None:
    body = {
        "apps": [app("/x/y"), app("A_b"), {"id": "c"}],
        "groups": [{}, {"id": "h", "groups": [{"apps": [app("/x/z")]}]}],
    }
    (wrong,) = faults({"apps": [app("A_b")]}).values()
    assert faults(body) == {
        "/apps(0)/id": ["Identifier is not child of '/g'. Hint: use relative paths."],
        "/apps(1)/id": wrong,
        "/apps(2)": [
            "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."
        ],
        "/groups(0)/id": ["must not be empty"],
        "/groups(1)/groups(0)/id": ["must not be empty"],
    }


@pytest.mark.parametrize("group", [{}, {"id": "h"}, {"id": "/elsewhere"}, {"id": "A_b"}])
def test_of_an_app_without_an_id_nothing_else_is_reported(group: Any) -> None:
    body = {"groups": [group | {"apps": [{}]}]}
    assert faults(body) == {"/groups(0)/apps(0)/id": ["'id' is undefined on object: {}"]}
    assert faults({"apps": [{"id": None}]}) == {"/apps(0)/id": ["error.expected.jsstring"]}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ([], "/"),
        ({"apps": {}}, "/apps"),
        ({"groups": 1}, "/groups"),
        ({"apps": [1]}, "/apps(0)"),
        ({"groups": [1]}, "/groups(0)"),
        ({"groups": [{"apps": [{"cmd": 1}]}]}, "/groups(0)/apps(0)/cmd"),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(body: Any, path: str) -> None:
    assert path in faults(body)


def test_an_implicit_group_exists_while_it_contains_an_app() -> None:
    groups = Groups({"/made": ()})
    groups.add_app("/a/b/c")
    groups.add_app("/a/d")
    assert [id_ in groups for id_ in ("/", "/made", "/a", "/a/b", "/a/d")] == [True] * 4 + [False]
    groups.remove_app("/a/b/c")
    assert ("/a/b" in groups, "/a" in groups) == (False, True)
    groups.remove_app("/a/d")
    assert set(groups.all()) == {"/", "/made"}


def test_an_app_cannot_have_the_id_of_a_group() -> None:
    groups = Groups({"/made": ()})
    groups.add_app("/a/b")
    assert groups.conflicts("/a", removed=[])
    assert not groups.conflicts("/a", removed=["/a/b"])
    assert groups.conflicts("/made", removed=[])
