"""Marathon's REST contract, route by route: statuses, headers, bodies, and `embed`."""

import json
from typing import Any

import pytest

import live
from fob.engine.definitions import fields

SLEEP = "exec sleep 1000"
HOSTILE = [
    (b"", "Please specify data in JSON format"),
    (b"{", "Invalid JSON"),
    (b"\xff", "Invalid JSON"),
    (b'{"id": "/x", "cmd": "\xed\xa0\x80"}', "Invalid JSON"),
    (b'{"id": "/x", "cmd": "\\ud800"}', "Invalid JSON"),
    (b'{"id": "/x", "cmd": "x", "cpus": 1e400}', "Invalid JSON"),
    (b'{"id": "/x", "cmd": "x", "cpus": NaN}', "Invalid JSON"),
    (b'{"id": "/x", "cmd": "x", "unknown": [-Infinity]}', "Invalid JSON"),
    (b'{"id": "/x", "cmd": "x", "instances": 1%s}' % (b"0" * 5000), "Invalid JSON"),
    (b"[" * 100_000, "Invalid JSON"),
    (b'{"id": "/x", "cmd": "x", "labels": %s}' % (b'{"a":' * 900 + b"1" + b"}" * 900), "Invalid"),
]


@pytest.mark.parametrize(("body", "message"), HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v2/apps"), ("PUT", "/v2/apps//x"), ("PUT", "/v2/groups")]
)
def test_a_malformed_body_is_refused_and_leaves_nothing(
    engine: live.Engine, method: str, path: str, body: bytes, message: str
) -> None:
    wrapped = b'{"apps": [%s]}' % body if body and "groups" in path else body
    response = engine.ask(method, path, data=wrapped)
    assert response.status_code in (400, 422), response.text
    assert response.json()["message"].startswith(message)
    assert response.json()["details"]
    assert engine.get("/v2/apps") == {"apps": []}


def test_unknown_keys_are_ignored_at_any_depth(engine: live.Engine) -> None:
    deep: Any = json.loads("[" * 500 + "]" * 500)
    docker = {"image": "x", "unknown": deep}
    made = engine.run("/a", SLEEP, unknown=deep, container={"docker": docker, "unknown": deep})
    assert "unknown" not in json.dumps(made)


def test_the_last_of_duplicate_keys_wins(engine: live.Engine) -> None:
    body = b'{"id": "/a", "cmd": "x", "instances": 1, "instances": 0}'
    assert engine.ask("POST", "/v2/apps", data=body).json()["instances"] == 0


def test_a_body_of_ten_megabytes_is_413(engine: live.Engine) -> None:
    response = engine.ask("POST", "/v2/apps", json={"id": "/a", "cmd": 10_000_000 * "a"})
    assert response.status_code == 413
    assert response.json()["message"].endswith("bytes, and 4194304 is the maximum")


def test_an_id_that_is_far_too_long_is_not_repeated_in_the_response(engine: live.Engine) -> None:
    response = engine.ask("POST", "/v2/apps", json={"id": "/" + 3_000_000 * "a", "cmd": "x"})
    assert (response.status_code, response.json()["details"][0]["path"]) == (422, "/id")
    assert len(response.content) < 1000


def test_an_app_with_the_longest_allowed_id_runs(engine: live.Engine) -> None:
    engine.run(app_id := "/" + 199 * "a", SLEEP)
    engine.running(app_id)


def test_every_response_names_the_leader_and_forbids_caching(engine: live.Engine) -> None:
    for path in ("/v2/apps", "/v2/apps//nothing", "/v2/nothing"):
        headers = engine.ask("GET", path).headers
        assert headers["X-Marathon-Leader"] == engine.url
        assert headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
        assert (headers["Pragma"], headers["Expires"]) == ("no-cache", "0")


def test_an_unknown_route_is_named(engine: live.Engine) -> None:
    assert engine.ask("GET", "/v2/pods").json() == {"message": "URI not found: /v2/pods"}


def test_head_is_get_without_the_body(engine: live.Engine) -> None:
    for path, status in (("/v2/apps", 200), ("/v2/apps//a", 404), ("/ping", 200)):
        response = engine.ask("HEAD", path)
        assert (response.status_code, response.content) == (status, b"")
    assert engine.ask("HEAD", "/v2/events").status_code == 405


def test_options_lists_the_methods_of_a_path(engine: live.Engine) -> None:
    response = engine.ask("OPTIONS", "/v2/apps")
    allowed = {"GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
    assert (response.status_code, set(response.headers["Allow"].split(", "))) == (200, allowed)
    response = engine.ask("DELETE", "/v2/apps")
    assert (response.status_code, response.json()) == (405, {"message": "Method Not Allowed"})
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_a_new_app_by_put_has_its_location(engine: live.Engine) -> None:
    response = engine.ask("PUT", "/v2/apps//a/b", json={"cmd": SLEEP})
    assert (response.status_code, response.headers["Location"]) == (201, "/v2/apps/a/b")
    assert "Location" not in engine.ask("PUT", "/v2/apps//a/b?force=true", json={"mem": 17}).headers


def test_a_version_cannot_be_combined_with_other_fields(engine: live.Engine) -> None:
    first = engine.run("/a", SLEEP)["version"]
    response = engine.ask("PUT", "/v2/apps//a?force=true", json={"version": first, "mem": 17})
    message = "The 'version' field may only be combined with the 'id' field."
    assert response.json()["details"] == [{"path": "/", "errors": [message]}]
    gone = "1999-01-01T00:00:00.000Z"
    message = f"App '/a' does not exist in version {gone}"
    for response in (
        engine.ask("PUT", "/v2/apps//a?force=true", json={"version": gone}),
        engine.ask("GET", f"/v2/apps//a/versions/{gone}"),
    ):
        assert (response.status_code, response.json()) == (404, {"message": message})
    response = engine.ask("PUT", "/v2/groups/g", json={"version": gone})
    message = f"Group /g not available in version {gone}"
    assert (response.status_code, response.json()) == (422, {"message": message})


def test_patch_changes_existing_apps_only(engine: live.Engine) -> None:
    engine.run("/a", SLEEP)
    apps = [{"id": "/a", "mem": 17}, {"id": "/b", "cmd": SLEEP}]
    response = engine.ask("PATCH", "/v2/apps?force=true", json=apps)
    assert (response.status_code, response.json()) == (404, {"message": "App '/b' does not exist"})
    assert engine.app("/a")["mem"] == 16
    assert engine.ask("PUT", "/v2/apps?force=true", json=apps).ok
    assert engine.app("/b")


def test_a_locked_app_can_be_removed(engine: live.Engine) -> None:
    engine.run("/a", SLEEP, cpus=10_000)  # never starts
    assert engine.ask("DELETE", "/v2/apps//a?force=false").status_code == 409
    assert engine.ask("DELETE", "/v2/apps//a").status_code == 200
    assert engine.get("/v2/apps") == {"apps": []}


def test_task_ids_are_validated(engine: live.Engine) -> None:
    def killed(ids: Any) -> tuple[int, Any]:
        response = engine.ask("POST", "/v2/tasks/delete", json=ids)
        return response.status_code, response.json()

    assert killed({"ids": ["a.b"]}) == (200, {"tasks": []})
    assert killed({"ids": ["nothing"]}) == (400, {"message": "Invalid task id 'nothing'."})
    for ids, path in (({}, "/ids"), ({"ids": {}}, "/ids"), ({"ids": [1]}, "/ids(0)")):
        status, body = killed(ids)
        assert (status, body["details"][0]["path"]) == (422, path)


def test_an_app_that_is_not_queued_has_no_delay(engine: live.Engine) -> None:
    response = engine.ask("DELETE", "/v2/queue//a/delay")
    message = "Application /a not found in tasks queue."
    assert (response.status_code, response.json()) == (404, {"message": message})


def test_tasks_are_listed_as_plain_text_for_scripts(engine: live.Engine) -> None:
    engine.run("/g/a", SLEEP, portDefinitions=[{"port": 80}])
    engine.run("/g/b", SLEEP, portDefinitions=[])
    (task,) = engine.running("/g/a")
    engine.running("/g/b")
    host = task["host"]
    assert task["servicePorts"] == [80]
    text = {"Accept": "text/plain"}
    both = f"g_a\t80\t{host}:{task['ports'][0]}\t\ng_b\t \t{host}\t\n"
    assert engine.ask("GET", "/v2/tasks", headers=text).text == both
    assert engine.ask("GET", "/v2/apps/g/*/tasks", headers=text).text == both
    assert engine.ask("GET", "/v2/apps/g/a/tasks", headers=text).text == both.splitlines(True)[0]
    assert len(engine.get("/v2/apps/g/*/tasks")["tasks"]) == 2
    assert engine.ask("GET", "/v2/apps/nothing/*/tasks").status_code == 404


COUNTS = {"tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "deployments"}
EMBEDS = {"tasks", "lastTaskFailure", "readinessCheckResults", "taskStats"}


@pytest.mark.parametrize(
    ("embed", "added"),
    [
        ((), set()),
        (("apps.tasks",), {"tasks"}),
        (("tasks",), {"tasks"}),
        (("app.tasks",), {"tasks"}),
        (("apps.counts", "apps.deployments"), set()),
        (("apps.lastTaskFailure",), {"lastTaskFailure"}),
        (("apps.failures",), {"tasks", "lastTaskFailure"}),
        (("apps.readiness",), {"readinessCheckResults"}),
        (("apps.taskStats",), {"taskStats"}),
        (("apps.tasks,apps.taskStats", "apps.readiness"), EMBEDS - {"lastTaskFailure"}),
        (("nothing", "task"), set()),
    ],
)
def test_embed_selects_the_fields_of_apps(
    failed: live.Engine, embed: tuple[str, ...], added: set[str]
) -> None:
    def found(path: str, *embed: str) -> Any:
        return failed.get(path, params=[("embed", name) for name in embed])

    def keys(app: Any) -> set[str]:
        assert app.keys() >= COUNTS
        return set(app) & EMBEDS

    always = {"tasks", "lastTaskFailure"}
    assert keys(found("/v2/apps", *embed)["apps"][0]) == added
    assert keys(found("/v2/apps//g/a", *embed)["app"]) == added | always
    assert keys(found("/v2/apps/g/*", *embed)["*"][0]) == added | always
    of_group = [name for each in embed for name in each.split(",") if name.startswith("apps.")]
    in_group = [f"group.{name}" for name in of_group]
    expected = added if of_group else set()
    (app,) = found("/v2/groups/g", "group.apps", *in_group)["apps"]
    assert keys(app) == expected
    (app,) = found("/v2/groups/g/apps", *in_group)
    assert keys(app) == expected


@pytest.fixture
def failed(engine: live.Engine) -> live.Engine:
    """An engine with an app whose task has failed once."""
    engine.run("/g/a", "exit 3", maxLaunchDelaySeconds=1000, backoffSeconds=1000)
    live.until(lambda: "lastTaskFailure" in engine.app("/g/a"))
    return engine


@pytest.mark.parametrize(
    ("embed", "keys"),
    [
        ("", {"apps", "groups", "pods"}),
        ("group.apps", {"apps"}),
        ("group.groups", {"groups"}),
        ("group.groups,group.apps", {"apps", "groups"}),
        ("group.pods", {"pods"}),
        ("group.apps.tasks", set()),
    ],
)
def test_embed_selects_the_fields_of_groups(
    engine: live.Engine, embed: str, keys: set[str]
) -> None:
    assert engine.ask("PUT", "/v2/groups/g", json={"groups": [{"id": "h"}]}).ok
    group = engine.get("/v2/groups/g", params={"embed": embed} if embed else {})
    own = {"id", "version", "dependencies"}
    assert group.keys() == own | keys
    for child in group.get("groups", []):
        assert child.keys() == own | keys


def test_task_statistics_distinguish_old_and_new_versions(engine: live.Engine) -> None:
    engine.run("/a", SLEEP, upgradeStrategy={"minimumHealthCapacity": 1})
    engine.running("/a")

    def stats() -> Any:
        (app,) = engine.get("/v2/apps?embed=apps.taskStats")["apps"]
        return app["taskStats"]

    first = stats()
    new = {"startedAfterLastScaling", "withLatestConfig", "totalSummary"}
    assert first.keys() == new
    running = {"staged": 0, "running": 1, "healthy": 0, "unhealthy": 0}
    assert first["totalSummary"]["stats"]["counts"] == running
    life = first["totalSummary"]["stats"]["lifeTime"]
    assert life.keys() == {"averageSeconds", "medianSeconds"}
    assert 0 <= life["medianSeconds"] == life["averageSeconds"] < 600
    live.until(lambda: engine.get("/v2/deployments") == [])
    assert engine.ask("PUT", "/v2/apps//a", json={"cpus": 10_000}).ok  # never starts
    assert stats().keys() == {"withOutdatedConfig", "totalSummary"}


VALUES = (None, [], {}, "", "x", 0, -1, 1.5, 10**30, True, [None], [[]], [{}], {"a": None})


def test_no_value_of_any_field_is_a_500(engine: live.Engine) -> None:
    """Null means absent; any other value is accepted, or refused with its path."""
    for key in sorted(fields.KEYS):
        for value in VALUES:
            app = {"id": "/a", "cmd": SLEEP, "instances": 0} | {key: value}
            response = engine.ask("POST", "/v2/apps", json=app)
            if response.status_code == 201:
                assert engine.ask("DELETE", "/v2/apps//a").ok
                live.until(lambda: engine.get("/v2/deployments") == [])  # the app is locked before
            else:
                assert response.status_code == 422, (key, value, response.text)
                assert response.json()["details"][0]["path"].startswith("/")
                assert value is not None or key == "cmd"
    assert engine.get("/v2/apps") == {"apps": []}
