"""The steps of a deployment."""

from typing import Any

import pytest

from fob.engine.control import plans
from fob.engine.definitions import app_definitions
from fob.engine.errors import ApiError


def app(id_: str, version: str = "v1", **more: Any) -> app_definitions.Definition:
    definition = app_definitions.complete({"id": id_, "cmd": "true", **more})
    return definition | {"versionInfo": {"lastConfigChangeAt": version, "lastScalingAt": "v9"}}


def apps(*definitions_: app_definitions.Definition) -> dict[str, app_definitions.Definition]:
    return {each["id"]: each for each in definitions_}


def words(steps: tuple[plans.Step, ...]) -> list[list[str]]:
    """The actions of each step, as `StartApplication /a`."""
    return [[f"{action.kind} {action.app_id}" for action in step] for step in steps]


def test_apps_without_dependencies_are_started_in_one_step() -> None:
    steps = plans.steps({}, apps(app("/a"), app("/b")), {})
    assert words(steps) == [["StartApplication /a", "StartApplication /b"]]


def test_an_app_is_started_after_its_dependencies() -> None:
    after = apps(app("/a", dependencies=["/b"]), app("/b", dependencies=["/c"]), app("/c"))
    assert words(plans.steps({}, after, {})) == [
        ["StartApplication /c"],
        ["StartApplication /b"],
        ["StartApplication /a"],
    ]


def test_the_apps_of_a_group_are_started_after_the_apps_of_its_dependencies() -> None:
    after = apps(app("/web/x/a"), app("/db/y/b"))
    steps = plans.steps({}, after, {"/web": ("/db",)})
    assert words(steps) == [["StartApplication /db/y/b"], ["StartApplication /web/x/a"]]


def test_removed_apps_are_stopped_first() -> None:
    before = apps(app("/a"), app("/b"))
    after = apps(app("/b", "v2"), app("/c", dependencies=["/b"]))
    assert words(plans.steps(before, after, {})) == [
        ["StopApplication /a"],
        ["RestartApplication /b"],
        ["StartApplication /c"],
    ]


def test_only_a_changed_configuration_restarts_an_app() -> None:
    steps = plans.steps(apps(app("/a")), apps(app("/a", instances=3)), {})
    assert words(steps) == [["ScaleApplication /a"]]


def test_dependencies_outside_the_deployment_make_no_step() -> None:
    steps = plans.steps({}, apps(app("/a", dependencies=["/elsewhere"])), {"/x": ("/a",)})
    assert words(steps) == [["StartApplication /a"]]


def test_no_change_needs_no_step() -> None:
    assert plans.steps({}, {}, {}) == ()


@pytest.mark.parametrize("first", ["/b", "/a"])
def test_cyclic_dependencies_are_rejected(first: str) -> None:
    after = apps(app("/a", dependencies=[first]), app("/b", dependencies=["/a"]))
    with pytest.raises(ApiError) as caught:
        plans.steps({}, after, {})
    assert caught.value.body["details"] == [
        {"path": "/", "errors": ["Dependency graph has cyclic dependencies."]}
    ]
