"""Deployments and groups, seen through the API."""

from collections.abc import Callable
from typing import Any

import pytest

import live

FOREVER = "exec sleep 1000"


def app(id_: str, **more: Any) -> dict[str, Any]:
    return {"id": id_, "cmd": FOREVER, "cpus": 0.01, "mem": 16, **more}


def have(engine: live.Engine, group: dict[str, Any], query: str = "") -> Any:
    answer = engine.ask("PUT", f"/v2/groups{query}", json=group)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(engine: live.Engine) -> list[str]:
    return sorted(app["id"] for app in engine.get("/v2/apps")["apps"])


def done(engine: live.Engine) -> None:
    live.until(lambda: not engine.get("/v2/deployments"), "the end of deployments")


def details(answer: Any) -> dict[str, list[str]]:
    assert answer.status_code == 422, answer.text
    return {fault["path"]: fault["errors"] for fault in answer.json()["details"]}


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
    (told,) = engine.get("/v2/deployments")
    assert (told["id"], told["currentStep"], told["totalSteps"]) == (deployment, 1, 3)
    assert told["affectedApps"] == ["/g/first", "/g/second", "/g/third"]
    assert [action["app"] for action in told["currentActions"]] == ["/g/first"]
    assert engine.get("/v2/tasks")["tasks"] == []
    assert [item["app"]["id"] for item in engine.get("/v2/queue")["queue"]] == ["/g/first"]
    # what is wanted is known at once
    assert engine.app("/g/third")["deployments"] == [{"id": deployment}]


def test_steps_are_made_in_the_order_of_dependencies(engine: live.Engine) -> None:
    group = CHAIN | {"apps": [a | {"cpus": 0.01} for a in CHAIN["apps"]]}  # type: ignore[attr-defined]
    have(engine, group)
    done(engine)
    started = {a: engine.running(f"/g/{a}")[0]["stagedAt"] for a in ("first", "second", "third")}
    assert list(started.values()) == sorted(started.values())


def test_a_stopped_deployment_holds_nothing_back(engine: live.Engine) -> None:
    deployment = have(engine, CHAIN)["deploymentId"]
    answer = engine.ask("DELETE", f"/v2/deployments/{deployment}?force=true")
    assert (answer.status_code, answer.text) == (202, "")
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
        answer = engine.ask(method, path, json={"instances": 2})
        assert answer.status_code == 409, path
        assert answer.json()["deployments"] == [{"id": deployment}]


def test_force_ends_the_deployment_that_is_in_the_way(engine: live.Engine) -> None:
    first = have(engine, CHAIN)["deploymentId"]
    second = engine.ask("PUT", "/v2/apps//g/first?force=true", json={"cpus": 0.01}).json()
    assert second["deploymentId"] != first
    for name in ("first", "second", "third"):
        engine.running(f"/g/{name}")
    done(engine)


def test_an_app_that_fails_for_good_ends_its_deployment(engine: live.Engine) -> None:
    broken = app("broken", cmd="exit 3", labels={"FOB_ACTIVATION": "always"})
    have(engine, {"id": "/g", "apps": [broken, app("next", dependencies=["broken"])]})
    done(engine)
    engine.running("/g/next")


def test_a_rollback_undoes_what_a_deployment_does(engine: live.Engine) -> None:
    have(engine, {"id": "/g", "apps": [app("kept", mem=17), app("gone")]})
    done(engine)
    change = {"id": "/g", "apps": [app("kept", mem=18), app("stuck", cpus=10_000)]}
    deployment = have(engine, change)["deploymentId"]
    assert ids(engine) == ["/g/kept", "/g/stuck"]
    answer = engine.ask("DELETE", f"/v2/deployments/{deployment}")
    assert answer.status_code == 200
    assert answer.json()["deploymentId"] != deployment
    done(engine)
    assert ids(engine) == ["/g/gone", "/g/kept"]
    assert engine.app("/g/kept")["mem"] == 17
    engine.running("/g/gone")


def test_a_rollback_removes_the_groups_that_were_new(engine: live.Engine) -> None:
    deployment = have(engine, {"id": "/a/b", "apps": [app("c", cpus=10_000)]})["deploymentId"]
    engine.ask("DELETE", f"/v2/deployments/{deployment}")
    assert engine.get("/v2/groups")["groups"] == []


def test_a_deployment_that_is_not_there_is_404(engine: live.Engine) -> None:
    answer = engine.ask("DELETE", "/v2/deployments/x")
    assert answer.status_code == 404
    assert answer.json() == {"message": "DeploymentPlan x does not exist"}


def test_a_dry_run_tells_the_steps_and_changes_nothing(engine: live.Engine) -> None:
    steps = have(engine, CHAIN, "?dryRun=true")["steps"]
    assert [[action["app"] for action in step["actions"]] for step in steps] == [
        ["/g/first"],
        ["/g/second"],
        ["/g/third"],
    ]
    assert engine.get("/v2/groups")["groups"] == []


def test_what_is_the_same_is_not_touched(engine: live.Engine) -> None:
    group = {"id": "/g", "apps": [app("a"), app("b")]}
    have(engine, group)
    done(engine)
    before = engine.running("/g/a")
    steps = have(engine, group, "?dryRun=true")["steps"]
    assert steps == []
    have(engine, group)
    assert engine.get("/v2/deployments") == []
    assert engine.running("/g/a") == before


def test_a_group_that_is_there_is_not_created_again(engine: live.Engine) -> None:
    engine.run("/g/a", FOREVER)
    answer = engine.ask("POST", "/v2/groups", json={"id": "/g"})
    text = "Group /g is already created. Use PUT to change this group."
    assert (answer.status_code, answer.json()["message"]) == (409, text)
    answer = engine.ask("POST", "/v2/groups", json={"id": "/g/a"})
    assert answer.json()["message"] == "An app with the path /g/a already exists."


def test_nothing_is_an_app_and_a_group(engine: live.Engine) -> None:
    engine.run("/a", FOREVER)
    text = "Groups and Applications may not have the same identifier."
    below = engine.ask("POST", "/v2/apps", json=app("/a/b"))
    assert details(below) == {"/": [text]}
    both = {"id": "/g", "apps": [app("x")], "groups": [{"id": "x"}]}
    assert details(engine.ask("PUT", "/v2/groups", json=both)) == {"/": [text]}
    assert ids(engine) == ["/a"]


def test_a_refused_group_leaves_nothing(engine: live.Engine) -> None:
    group = {"id": "/g", "apps": [app("a", dependencies=["b"]), app("b", dependencies=["a"])]}
    answer = engine.ask("POST", "/v2/groups", json=group)
    assert details(answer) == {"/": ["Dependency graph has cyclic dependencies."]}
    assert (ids(engine), engine.get("/v2/groups")["groups"]) == ([], [])


def test_a_group_is_relative_to_the_one_in_the_path(engine: live.Engine) -> None:
    answer = engine.ask("POST", "/v2/groups//a", json={"id": "b", "apps": [app("c")]})
    assert (answer.status_code, answer.headers["Location"]) == (201, "/v2/groups/a/b")
    assert ids(engine) == ["/a/b/c"]


def test_a_group_goes_back_to_a_version(engine: live.Engine) -> None:
    first = have(engine, {"id": "/g", "apps": [app("a"), app("b")]})["version"]
    done(engine)
    have(engine, {"id": "/g", "apps": [app("a", mem=17)]})
    done(engine)
    assert engine.get("/v2/groups//g/versions")[-1] == first
    have(engine, {"id": "/g", "version": first})
    assert ids(engine) == ["/g/a", "/g/b"]
    assert engine.app("/g/a")["mem"] == 16
    unknown = engine.ask("PUT", "/v2/groups//g?force=true", json={"version": "1999"})
    assert unknown.status_code == 422
    assert engine.ask("GET", "/v2/groups//g/versions/1999").status_code == 404


@pytest.mark.parametrize("name", ["scaleBy", "version"])
def test_what_stands_alone_is_not_combined(engine: live.Engine, name: str) -> None:
    engine.run("/g/a", FOREVER)
    answer = engine.ask("PUT", "/v2/groups//g", json={name: 2, "apps": []})
    assert list(details(answer)) == [f"/{name}"]


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


def test_only_what_is_to_be_embedded_is(engine: live.Engine) -> None:
    engine.run("/g/a", FOREVER)
    engine.running("/g/a")
    assert "apps" not in engine.get("/v2/groups//g?embed=group.groups")
    bare = engine.get("/v2/groups//g?embed=group.apps")
    assert ("groups" in bare, "tasks" in bare["apps"][0]) == (False, False)
    full = engine.get("/v2/groups//g?embed=group.apps&embed=group.apps.tasks")
    assert len(full["apps"][0]["tasks"]) == 1


def test_several_apps_are_changed_in_one_deployment(engine: live.Engine) -> None:
    answer = engine.ask("PUT", "/v2/apps", json=[app("/a"), app("/b")])
    assert answer.status_code == 200, answer.text
    engine.running("/a")
    engine.running("/b")
    wrong = engine.ask("PUT", "/v2/apps", json=[app("/a", mem=17), {"cpus": 1}])
    assert list(details(wrong)) == ["(1)/id"]
    assert engine.app("/a")["mem"] == 16


def test_a_full_update_forgets_what_it_does_not_name(engine: live.Engine) -> None:
    engine.run("/a", FOREVER, labels={"x": "y"}, instances=2)
    answer = engine.ask("PUT", "/v2/apps//a?partialUpdate=false&force=true", json=app("/a"))
    assert answer.ok
    assert (engine.app("/a")["labels"], engine.app("/a")["instances"]) == ({}, 1)


def test_scale_and_wipe_are_not_for_each_other(engine: live.Engine) -> None:
    engine.run("/a", FOREVER)
    answer = engine.ask("DELETE", "/v2/apps//a/tasks?scale=true&wipe=true")
    assert answer.status_code == 400
    assert answer.json() == {"message": "You cannot use scale and wipe at the same time."}


def test_an_app_created_in_place_of_one_that_stops_ends_its_removal(engine: live.Engine) -> None:
    deaf = "trap '' TERM; while true; do sleep 0.1; done"
    engine.run("/a", deaf, taskKillGracePeriodSeconds=1)
    engine.running("/a")
    done(engine)
    removal = engine.ask("DELETE", "/v2/apps//a").json()["deploymentId"]
    answer = engine.ask("POST", "/v2/apps?force=true", json=app("/a"))
    assert answer.status_code == 201, answer.text
    assert removal not in [each["id"] for each in engine.get("/v2/deployments")]
    engine.running("/a")
    done(engine)
