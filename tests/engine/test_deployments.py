"""Deployments and groups, observed through the API."""

from collections.abc import Callable
from typing import Any

import pytest

import live

FOREVER = "exec sleep 1000"


def app(id_: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "cmd": FOREVER, "cpus": 0.01, "mem": 16, **more}


def have(engine: live.Engine, group: dict[str, Any], query: str = "") -> Any:
    response = engine.ask("PUT", f"/v2/groups{query}", json=group)
    assert response.status_code == 200, response.text
    return response.json()


def ids(engine: live.Engine) -> list[str]:
    return sorted(app["id"] for app in engine.get("/v2/apps")["apps"])


def done(engine: live.Engine) -> None:
    live.until(lambda: not engine.get("/v2/deployments"), "the end of deployments")


def details(response: Any) -> dict[str, list[str]]:
    assert response.status_code == 422, response.text
    return {fault["path"]: fault["errors"] for fault in response.json()["details"]}


CHAIN = {
    "id": "/g",
    "apps": [
        app("first", cpus=10_000),
        app("second", dependencies=["first"]),
        app("third", dependencies=["second"]),
    ],
}


def test_a_step_begins_when_the_one_before_it_is_done(engine: live.Engine) -> None:
    deployment = have(engine, CHAIN)["deploymentId"]
    (deployed,) = engine.get("/v2/deployments")
    assert (deployed["id"], deployed["currentStep"], deployed["totalSteps"]) == (deployment, 1, 3)
    assert deployed["affectedApps"] == ["/g/first", "/g/second", "/g/third"]
    assert [action["app"] for action in deployed["currentActions"]] == ["/g/first"]
    assert engine.get("/v2/tasks")["tasks"] == []
    assert [item["app"]["id"] for item in engine.get("/v2/queue")["queue"]] == ["/g/first"]
    # the desired state is visible at once
    assert engine.app("/g/third")["deployments"] == [{"id": deployment}]


def test_steps_follow_the_order_of_dependencies(engine: live.Engine) -> None:
    group = CHAIN | {"apps": [a | {"cpus": 0.01} for a in CHAIN["apps"]]}  # type: ignore[attr-defined]
    have(engine, group)
    done(engine)
    started = {a: engine.running(f"/g/{a}")[0]["stagedAt"] for a in ("first", "second", "third")}
    assert list(started.values()) == sorted(started.values())


def test_a_cancelled_deployment_postpones_nothing(engine: live.Engine) -> None:
    deployment = have(engine, CHAIN)["deploymentId"]
    response = engine.ask("DELETE", f"/v2/deployments/{deployment}?force=true")
    assert (response.status_code, response.text) == (202, "")
    assert engine.get("/v2/deployments") == []
    engine.running("/g/second")
    engine.running("/g/third")


def test_every_app_of_a_deployment_is_locked(engine: live.Engine) -> None:
    deployment = have(engine, CHAIN)["deploymentId"]
    for method, path in (
        ("PUT", "/v2/apps//g/third"),
        ("DELETE", "/v2/apps//g/third?force=false"),
        ("POST", "/v2/apps//g/third/restart"),
        ("DELETE", "/v2/groups//g"),
    ):
        response = engine.ask(method, path, json={"instances": 2})
        assert response.status_code == 409, path
        assert response.json()["deployments"] == [{"id": deployment}]


def test_force_cancels_the_deployment_that_locks_the_app(engine: live.Engine) -> None:
    first = have(engine, CHAIN)["deploymentId"]
    second = engine.ask("PUT", "/v2/apps//g/first?force=true", json={"cpus": 0.01}).json()
    assert second["deploymentId"] != first
    for name in ("first", "second", "third"):
        engine.running(f"/g/{name}")
    done(engine)


def test_a_permanent_failure_ends_the_deployment(engine: live.Engine) -> None:
    broken = app("broken", cmd="exit 3", labels={"FOB_ACTIVATION": "always"})
    have(engine, {"id": "/g", "apps": [broken, app("next", dependencies=["broken"])]})
    done(engine)
    engine.running("/g/next")


def test_a_rollback_undoes_a_deployment(engine: live.Engine) -> None:
    have(engine, {"id": "/g", "apps": [app("kept", mem=17), app("gone")]})
    done(engine)
    change = {"id": "/g", "apps": [app("kept", mem=18), app("stuck", cpus=10_000)]}
    deployment = have(engine, change)["deploymentId"]
    assert ids(engine) == ["/g/kept", "/g/stuck"]
    response = engine.ask("DELETE", f"/v2/deployments/{deployment}")
    assert response.status_code == 200
    assert response.json()["deploymentId"] != deployment
    done(engine)
    assert ids(engine) == ["/g/gone", "/g/kept"]
    assert engine.app("/g/kept")["mem"] == 17
    engine.running("/g/gone")


def test_a_rollback_removes_the_groups_that_were_new(engine: live.Engine) -> None:
    deployment = have(engine, {"id": "/a/b", "apps": [app("c", cpus=10_000)]})["deploymentId"]
    engine.ask("DELETE", f"/v2/deployments/{deployment}")
    assert engine.get("/v2/groups")["groups"] == []


def test_an_unknown_deployment_is_404(engine: live.Engine) -> None:
    response = engine.ask("DELETE", "/v2/deployments/x")
    assert response.status_code == 404
    assert response.json() == {"message": "DeploymentPlan x does not exist"}


def test_a_dry_run_returns_the_steps_and_changes_nothing(engine: live.Engine) -> None:
    steps = have(engine, CHAIN, "?dryRun=true")["steps"]
    assert [[action["app"] for action in step["actions"]] for step in steps] == [
        ["/g/first"],
        ["/g/second"],
        ["/g/third"],
    ]
    assert engine.get("/v2/groups")["groups"] == []


def test_an_unchanged_app_is_not_deployed(engine: live.Engine) -> None:
    group = {"id": "/g", "apps": [app("a"), app("b")]}
    have(engine, group)
    done(engine)
    before = engine.running("/g/a")
    steps = have(engine, group, "?dryRun=true")["steps"]
    assert steps == []
    have(engine, group)
    assert engine.get("/v2/deployments") == []
    assert engine.running("/g/a") == before


def test_an_existing_group_or_app_is_not_created_again(engine: live.Engine) -> None:
    engine.run("/g/a", FOREVER)
    response = engine.ask("POST", "/v2/groups", json={"id": "/g"})
    text = "Group /g is already created. Use PUT to change this group."
    assert (response.status_code, response.json()["message"]) == (409, text)
    response = engine.ask("POST", "/v2/groups", json={"id": "/g/a"})
    assert response.json()["message"] == "An app with the path /g/a already exists."


def test_an_id_is_not_that_of_an_app_and_of_a_group(engine: live.Engine) -> None:
    engine.run("/a", FOREVER)
    text = "Groups and Applications may not have the same identifier."
    below = engine.ask("POST", "/v2/apps", json=app("/a/b"))
    assert details(below) == {"/": [text]}
    both = {"id": "/g", "apps": [app("x")], "groups": [{"id": "x"}]}
    assert details(engine.ask("PUT", "/v2/groups", json=both)) == {"/": [text]}
    assert ids(engine) == ["/a"]


def test_an_invalid_group_changes_nothing(engine: live.Engine) -> None:
    group = {"id": "/g", "apps": [app("a", dependencies=["b"]), app("b", dependencies=["a"])]}
    response = engine.ask("POST", "/v2/groups", json=group)
    assert details(response) == {"/": ["Dependency graph has cyclic dependencies."]}
    assert (ids(engine), engine.get("/v2/groups")["groups"]) == ([], [])


def test_a_group_is_relative_to_the_one_in_the_path(engine: live.Engine) -> None:
    response = engine.ask("POST", "/v2/groups//a", json={"id": "b", "apps": [app("c")]})
    assert (response.status_code, response.headers["Location"]) == (201, "/v2/groups/a/b")
    assert ids(engine) == ["/a/b/c"]


def test_a_group_can_be_set_to_an_earlier_version(engine: live.Engine) -> None:
    first = have(engine, {"id": "/g", "apps": [app("a"), app("b")]})["version"]
    done(engine)
    have(engine, {"id": "/g", "apps": [app("a", mem=17)]})
    done(engine)
    assert engine.get("/v2/groups//g/versions")[-1] == first
    have(engine, {"id": "/g", "version": first})
    assert ids(engine) == ["/g/a", "/g/b"]
    assert engine.app("/g/a")["mem"] == 16
    gone = "1999-01-01T00:00:00.000Z"
    unknown = engine.ask("PUT", "/v2/groups//g?force=true", json={"version": gone})
    assert unknown.status_code == 422
    assert engine.ask("GET", f"/v2/groups//g/versions/{gone}").status_code == 404


@pytest.mark.parametrize("parameters", ["", "?dryRun=true"])
def test_scaling_a_group_that_does_not_exist_creates_an_empty_one(
    engine: live.Engine, parameters: str
) -> None:
    response = engine.ask("PUT", f"/v2/groups//g/h{parameters}", json={"scaleBy": 2})
    assert response.status_code == 200, response.text
    if parameters:
        assert response.json() == {"steps": []}
        assert engine.ask("GET", "/v2/groups//g/h").status_code == 404
        return
    assert response.json().keys() == {"version", "deploymentId"}
    group = engine.get("/v2/groups//g/h")
    assert (group["id"], group["apps"], group["groups"]) == ("/g/h", [], [])
    assert engine.ask("PUT", "/v2/groups//i", json={"scaleBy": -1}).status_code == 422
    assert engine.ask("GET", "/v2/groups//i").status_code == 404


@pytest.mark.parametrize("name", ["scaleBy", "version"])
def test_scale_by_and_version_cannot_be_combined_with_other_fields(
    engine: live.Engine, name: str
) -> None:
    engine.run("/g/a", FOREVER)
    response = engine.ask("PUT", "/v2/groups//g", json={name: 2, "apps": []})
    assert list(details(response)) == [f"/{name}"]


def test_groups_come_back_at_the_next_start(start_engine: Callable[..., live.Engine]) -> None:
    engine = start_engine()
    empty = {"id": "/g", "dependencies": ["/x"], "groups": [{"id": "empty"}]}
    have(engine, empty)
    engine.run("/h/a", FOREVER)
    before = engine.get("/v2/groups")
    engine.stop()
    again = start_engine()
    assert again.get("/v2/groups")["groups"] == before["groups"]
    assert again.get("/v2/groups//g")["groups"][0]["id"] == "/g/empty"
    assert again.get("/v2/groups//g")["dependencies"] == ["/x"]


def test_only_the_requested_parts_are_embedded(engine: live.Engine) -> None:
    engine.run("/g/a", FOREVER)
    engine.running("/g/a")
    assert "apps" not in engine.get("/v2/groups//g?embed=group.groups")
    bare = engine.get("/v2/groups//g?embed=group.apps")
    assert ("groups" in bare, "tasks" in bare["apps"][0]) == (False, False)
    full = engine.get("/v2/groups//g?embed=group.apps&embed=group.apps.tasks")
    assert len(full["apps"][0]["tasks"]) == 1


def test_several_apps_are_changed_in_one_deployment(engine: live.Engine) -> None:
    response = engine.ask("PUT", "/v2/apps", json=[app("/a"), app("/b")])
    assert response.status_code == 200, response.text
    engine.running("/a")
    engine.running("/b")
    wrong = engine.ask("PUT", "/v2/apps", json=[app("/a", mem=17), {"cpus": 1}])
    assert list(details(wrong)) == ["(1)/id"]
    assert engine.app("/a")["mem"] == 16


def test_a_full_update_resets_fields_that_it_does_not_name(engine: live.Engine) -> None:
    engine.run("/a", FOREVER, labels={"x": "y"}, instances=2)
    response = engine.ask("PUT", "/v2/apps//a?partialUpdate=false&force=true", json=app("/a"))
    assert response.ok
    assert (engine.app("/a")["labels"], engine.app("/a")["instances"]) == ({}, 1)


def test_scale_and_wipe_exclude_each_other(engine: live.Engine) -> None:
    engine.run("/a", FOREVER)
    response = engine.ask("DELETE", "/v2/apps//a/tasks?scale=true&wipe=true")
    assert response.status_code == 400
    assert response.json() == {"message": "You cannot use scale and wipe at the same time."}


def test_creating_an_app_again_ends_the_removal_in_progress(engine: live.Engine) -> None:
    deaf = "trap '' TERM; while true; do sleep 0.1; done"
    engine.run("/a", deaf, taskKillGracePeriodSeconds=1)
    engine.running("/a")
    done(engine)
    removal = engine.ask("DELETE", "/v2/apps//a").json()["deploymentId"]
    response = engine.ask("POST", "/v2/apps?force=true", json=app("/a"))
    assert response.status_code == 201, response.text
    assert removal not in [each["id"] for each in engine.get("/v2/deployments")]
    engine.running("/a")
    done(engine)
