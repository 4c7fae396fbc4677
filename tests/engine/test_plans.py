"""In which order a change is made."""

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


def told(steps: tuple[plans.Step, ...]) -> list[list[str]]:
    """Each step as words: `StartApplication /a`."""
    return [[f"{action.kind} {action.app_id}" for action in step] for step in steps]


def test_what_depends_on_nothing_is_done_at_once() -> None:
    steps = plans.steps({}, apps(app("/a"), app("/b")), {})
    assert told(steps) == [["StartApplication /a", "StartApplication /b"]]


def test_an_app_comes_after_those_that_it_depends_on() -> None:
    after = apps(app("/a", dependencies=["/b"]), app("/b", dependencies=["/c"]), app("/c"))
    assert told(plans.steps({}, after, {})) == [
        ["StartApplication /c"],
        ["StartApplication /b"],
        ["StartApplication /a"],
    ]


def test_the_apps_of_a_group_come_after_those_of_a_group_that_it_depends_on() -> None:
    after = apps(app("/web/x/a"), app("/db/y/b"))
    steps = plans.steps({}, after, {"/web": ("/db",)})
    assert told(steps) == [["StartApplication /db/y/b"], ["StartApplication /web/x/a"]]


def test_what_goes_is_stopped_first() -> None:
    before = apps(app("/a"), app("/b"))
    after = apps(app("/b", "v2"), app("/c", dependencies=["/b"]))
    assert told(plans.steps(before, after, {})) == [
        ["StopApplication /a"],
        ["RestartApplication /b"],
        ["StartApplication /c"],
    ]


def test_only_a_changed_configuration_restarts() -> None:
    steps = plans.steps(apps(app("/a")), apps(app("/a", instances=3)), {})
    assert told(steps) == [["ScaleApplication /a"]]


def test_what_is_not_touched_is_waited_for_by_nobody() -> None:
    steps = plans.steps({}, apps(app("/a", dependencies=["/elsewhere"])), {"/x": ("/a",)})
    assert told(steps) == [["StartApplication /a"]]


def test_nothing_to_do_is_no_step() -> None:
    assert plans.steps({}, {}, {}) == ()


@pytest.mark.parametrize("first", ["/b", "/a"])
def test_dependencies_in_a_circle_are_refused(first: str) -> None:
    after = apps(app("/a", dependencies=[first]), app("/b", dependencies=["/a"]))
    with pytest.raises(ApiError) as caught:
        plans.steps({}, after, {})
    assert caught.value.body["details"] == [
        {"path": "/", "errors": ["Dependency graph has cyclic dependencies."]}
    ]
