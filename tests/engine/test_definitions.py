from typing import Any

import pytest

from fob.engine import chunks
from fob.engine.definitions import app_definitions
from fob.engine.errors import ApiError


def refused(body: Any) -> dict[str, list[str]]:
    with pytest.raises(ApiError) as caught:
        app_definitions.complete(body)
    assert caught.value.status == 422
    faults = {fault["path"]: fault["errors"] for fault in caught.value.body["details"]}
    unread = any(error.startswith("error.") for errors in faults.values() for error in errors)
    assert caught.value.body["message"] == ("Invalid JSON" if unread else "Object is not valid")
    return faults


def app(**more: Any) -> dict[str, Any]:
    return {"id": "/a/b", "cmd": "true", **more}


def test_absent_fields_get_marathons_defaults() -> None:
    definition = app_definitions.complete(app())
    assert (definition["instances"], definition["cpus"], definition["mem"]) == (1, 1, 128)
    assert definition["portDefinitions"] == [{"port": 0, "protocol": "tcp", "labels": {}}]
    assert "acceptedResourceRoles" not in definition


def test_null_means_absent() -> None:
    assert app_definitions.complete(app(instances=None, env=None))["instances"] == 1


def test_unknown_keys_are_ignored() -> None:
    assert "birds" not in app_definitions.complete(app(birds=3))


@pytest.mark.parametrize("given", ["a//b/", "a/b", "/a/./b", "/x/../a/b", "../a/b"])
def test_ids_become_absolute(given: str) -> None:
    assert app_definitions.complete(app(id=given))["id"] == "/a/b"


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "/",
        None,
        7,
        "/a_b",
        "/A",
        "/-a",
        "/a-",
        "/a/tasks",
        "/a/versions",
        "/a b",
        "/a.-b",
        "/a\n",
        "/" + 200 * "a",
        "..",
    ],
)
def test_ids_that_marathon_refuses_are_refused(wrong: Any) -> None:
    assert "/id" in refused(app(id=wrong))


def test_all_faults_are_named_at_once() -> None:
    assert set(refused(app(cpus="x", mem="y", instances="z"))) == {"/cpus", "/mem", "/instances"}


def test_an_app_has_either_cmd_or_args() -> None:
    assert "/" in refused({"id": "/a"})
    assert "/" in refused(app(args=["true"]))


def test_another_user_is_refused_rather_than_ignored() -> None:
    assert "/user" in refused(app(user="somebody-else"))


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_body_that_is_not_an_object_is_refused(body: Any) -> None:
    assert "/" in refused(body)


def test_the_old_ports_key_becomes_port_definitions() -> None:
    definition = app_definitions.complete(app(ports=[0, 0]))
    assert len(definition["portDefinitions"]) == 2


def test_a_change_merges_at_the_top_level() -> None:
    old = app_definitions.complete(app(env={"A": "1"}, instances=2))
    new = app_definitions.merge(old, {"env": {"B": "2"}}, "/a/b")
    assert new["env"] == {"B": "2"}
    assert (new["instances"], new["cmd"]) == (2, "true")


def test_a_change_from_cmd_to_args_drops_the_cmd() -> None:
    new = app_definitions.merge(app_definitions.complete(app()), {"args": ["true"]}, "/a/b")
    assert (new["cmd"], new["args"]) == (None, ["true"])


def test_equal_values_of_many_apps_are_one_object() -> None:
    body = {"cmd": "true", "healthChecks": [{"protocol": "TCP"}], "upgradeStrategy": {}}
    one, two = (app_definitions.complete(body | {"id": id_}) for id_ in ("/one", "/two"))
    assert one["healthChecks"] is two["healthChecks"]
    assert one["portDefinitions"] is two["portDefinitions"]
    other = app_definitions.complete(
        {"id": "/c", "cmd": "true", "healthChecks": [{"protocol": "HTTP"}]}
    )
    assert other["healthChecks"] != one["healthChecks"]


def test_equal_values_of_different_types_are_not_shared() -> None:
    assert [chunks.shared([value])[0] for value in (1, 1.0, True)] == [1, 1.0, True]
    assert [str(chunks.shared([value])[0]) for value in (1, 1.0, True)] == ["1", "1.0", "True"]


def test_the_number_of_shared_values_is_limited() -> None:
    for number in range(2 * chunks.MAX_SHARED):
        assert chunks.shared([number]) == [number]
        assert len(chunks._shared) <= chunks.MAX_SHARED
