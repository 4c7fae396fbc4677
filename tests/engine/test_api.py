"""The engine's HTTP API, as Marathon's clients see it."""

import json
import socket
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import pytest
import requests

import live

GONE = "1999-01-01T00:00:00.000Z"  # a version that is not stored


def test_ping_needs_no_token(engine: live.Engine) -> None:
    assert requests.get(engine.url + "/ping", timeout=5).text == "pong"
    response = requests.get(engine.url + "/ping", headers={"Accept": "application/json"}, timeout=5)
    assert response.json() == "pong"


@pytest.mark.parametrize("path", ["/v2/apps", "/v2/info", "/service/marathon/v2/apps", "/nothing"])
def test_every_other_route_requires_the_token(engine: live.Engine, path: str) -> None:
    for headers in ({}, {"Authorization": "token=wrong"}, {"Authorization": "Basic !"}):
        response = requests.get(engine.url + path, headers=headers, timeout=5)
        assert response.status_code == (404 if path == "/nothing" else 401)
        assert "message" in response.json()


def test_a_request_without_a_token_is_told_how_to_send_one(engine: live.Engine) -> None:
    response = requests.get(engine.url + "/v2/apps", timeout=5)
    # in this order: an old DC/OS command line uses the first scheme that it supports
    assert response.headers["WWW-Authenticate"] == 'acsjwt,Basic realm="fob engine"'


def test_the_token_is_accepted_in_each_way_that_clients_send_it(engine: live.Engine) -> None:
    url = engine.url + "/v2/info"
    for header in (f"token={engine.token}", f"Bearer {engine.token}"):
        assert requests.get(url, headers={"Authorization": header}, timeout=5).ok
    assert requests.get(url, auth=("anyone", engine.token), timeout=5).ok


def test_the_api_is_served_under_the_prefix_of_dcos_too(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000")
    assert engine.get("/service/marathon/v2/apps")["apps"][0]["id"] == "/a"
    assert engine.ask("GET", "/service/marathon/ping").text == "pong"


@pytest.mark.parametrize("path", ["//a/b", "/a/b", "//a/b/", "///a//b"])
def test_slashes_in_paths_are_tolerated(engine: live.Engine, path: str) -> None:
    engine.run("/a/b", "exec sleep 1000")
    assert engine.get(f"/v2/apps{path}")["app"]["id"] == "/a/b"


def test_a_new_app_is_201_with_its_deployment(engine: live.Engine) -> None:
    response = engine.ask("POST", "/v2/apps", json={"id": "/a", "cmd": "exec sleep 1000"})
    body = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == "/v2/apps/a"
    assert body["deployments"][0]["id"] == response.headers["Marathon-Deployment-Id"]
    assert {"tasksStaged", "tasksRunning", "tasksHealthy", "tasksUnhealthy", "version"} <= set(body)
    for key in ("cmd", "args", "container", "healthChecks", "constraints", "env", "labels"):
        assert key in body


def test_creating_an_existing_app_is_409(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000")
    response = engine.ask("POST", "/v2/apps", json={"id": "/a", "cmd": "true"})
    assert response.status_code == 409
    assert response.json()["message"] == "An app with id [/a] already exists."


def test_an_app_under_deployment_is_locked_unless_forced(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000", cpus=10_000)  # never starts
    response = engine.ask("PUT", "/v2/apps//a", json={"instances": 2})
    assert response.status_code == 409
    assert response.json()["message"].startswith("App is locked by one or more deployments.")
    (deployment,) = response.json()["deployments"]
    assert deployment["id"] == engine.get("/v2/deployments")[0]["id"]
    assert engine.ask("PUT", "/v2/apps//a?force=true", json={"cpus": 0.1}).ok
    engine.running("/a")


@pytest.mark.parametrize("body", ["{", "[]", '{"id": 1}', "\xff", "[" * 100_000])
def test_a_body_that_is_not_an_app_is_refused(engine: live.Engine, body: str) -> None:
    response = engine.ask("POST", "/v2/apps", data=body.encode("latin-1"))
    assert response.status_code in (400, 422)
    assert response.json()["message"] in ("Invalid JSON", "Object is not valid")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/apps//nothing"),
        ("PATCH", "/v2/apps//nothing"),
        ("DELETE", "/v2/apps//nothing"),
        ("POST", "/v2/apps//nothing/restart"),
        ("GET", "/v2/apps//nothing/versions"),
        ("GET", "/v2/apps//nothing/tasks"),
    ],
)
def test_an_unknown_app_is_404(engine: live.Engine, method: str, path: str) -> None:
    response = engine.ask(method, path, json={})
    assert response.status_code == 404
    assert response.json() == {"message": "App '/nothing' does not exist"}


def test_an_unknown_route_is_404_in_marathons_shape(engine: live.Engine) -> None:
    response = engine.ask("GET", "/v2/pods")
    assert (response.status_code, list(response.json())) == (404, ["message"])


def test_a_group_lists_the_apps_below_it(engine: live.Engine) -> None:
    engine.run("/g/one", "exec sleep 1000")
    engine.run("/g/h/two", "exec sleep 1000")
    engine.run("/other", "exec sleep 1000")
    below = engine.get("/v2/apps/g/*")["*"]
    assert {app["id"] for app in below} == {"/g/one", "/g/h/two"}
    assert all(app["tasks"] for app in below)
    assert engine.ask("GET", "/v2/apps/nothing/*").status_code == 404
    tree = engine.get("/v2/groups")
    assert [app["id"] for app in tree["apps"]] == ["/other"]
    assert [group["id"] for group in tree["groups"]] == ["/g"]
    assert engine.ask("DELETE", "/v2/groups//g?force=true").ok
    assert [app["id"] for app in engine.get("/v2/apps")["apps"]] == ["/other"]


def test_apps_are_selected_by_id_cmd_and_label(engine: live.Engine) -> None:
    engine.run("/one", "exec sleep 1000", labels={"kind": "x"})
    engine.run("/two", "exec sleep 2000", labels={"kind": "y"})

    def ids(query: str) -> list[str]:
        return [app["id"] for app in engine.get(f"/v2/apps?{query}")["apps"]]

    assert ids("id=tw") == ["/two"]
    assert ids("cmd=1000") == ["/one"]
    assert ids("label=kind==y") == ["/two"]
    assert ids("label=kind!=y") == ["/one"]
    assert ids("label=kind") == ["/one", "/two"]
    assert ids("label=other") == []


def test_an_app_can_be_rolled_back_to_an_earlier_version(engine: live.Engine) -> None:
    first = engine.run("/a", "exec sleep 1000", env={"N": "1"})["version"]
    engine.running("/a")
    second = engine.ask("PUT", "/v2/apps//a?force=true", json={"env": {"N": "2"}}).json()["version"]
    assert second > first
    versions = engine.get("/v2/apps//a/versions")["versions"]
    assert versions[-1] == first
    assert engine.get(f"/v2/apps//a/versions/{first}")["env"] == {"N": "1"}
    assert engine.ask("PUT", "/v2/apps//a?force=true", json={"version": first}).ok
    assert engine.app("/a")["env"] == {"N": "1"}
    response = engine.ask("PUT", "/v2/apps//a?force=true", json={"version": GONE})
    assert response.status_code == 404


def test_a_version_may_be_written_in_another_time_zone(engine: live.Engine) -> None:
    version = engine.run("/a", "exec sleep 1000", env={"N": "1"})["version"]
    east = datetime.fromisoformat(version).astimezone(timezone(timedelta(hours=2))).isoformat()
    assert engine.get("/v2/apps//a/versions/" + quote(east))["env"] == {"N": "1"}


@pytest.mark.parametrize(
    "text", ["1999", "now", "2016-02-30T00:00:00Z", "2016-02-03T04:05:06", "x/y"]
)
def test_a_malformed_version_is_no_timestamp(engine: live.Engine, text: str) -> None:
    engine.run("/g/a", "exec sleep 1000")
    assert engine.ask("PUT", "/v2/groups//g?force=true", json={"dependencies": []}).ok
    written = quote(text, safe="")
    responses = [
        engine.ask("PUT", "/v2/apps//g/a?force=true", json={"version": text}),
        engine.ask("PUT", "/v2/groups//g?force=true", json={"version": text}),
        engine.ask("GET", f"/v2/apps//g/a/versions/{written}"),
        engine.ask("GET", f"/v2/groups//g/versions/{written}"),
        engine.ask("GET", f"/v2/groups/versions/{written}"),
    ]
    message = f"Invalid timestamp provided '{text}'. Expecting ISO-8601 datetime string."
    for response in responses:
        assert (response.status_code, response.json()) == (422, {"message": message})


def test_restart_accepts_an_empty_body(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000")
    old = engine.running("/a")[0]["id"]
    assert engine.ask("POST", "/v2/apps//a/restart?force=true").ok
    live.until(lambda: engine.running("/a")[0]["id"] != old)


def test_put_creates_an_app_that_does_not_exist(engine: live.Engine) -> None:
    response = engine.ask("PUT", "/v2/apps//new", json={"cmd": "exec sleep 1000"})
    assert response.status_code == 201
    engine.running("/new")


def test_task_ids_are_the_apps_path_and_a_uuid(engine: live.Engine) -> None:
    engine.run("/g/one", "exec sleep 1000")
    (task,) = engine.running("/g/one")
    assert task["id"].startswith("g_one.")
    assert [t["id"] for t in engine.get("/v2/tasks")["tasks"]] == [task["id"]]
    assert engine.get("/v2/apps//g/one/tasks")["tasks"] == [task]


def test_the_event_stream_reports_every_step(engine: live.Engine) -> None:
    headers = {"Accept": "text/event-stream"}
    with engine.ask("GET", "/v2/events", headers=headers, stream=True) as stream:
        lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
        assert next(line for line in lines if line.startswith("event:")).endswith("attached")
        engine.run("/a", "exec sleep 1000")
        seen: list[str] = []
        while "deployment_success" not in seen:
            line = next(lines)
            if line.startswith("data: "):
                data = json.loads(line[6:])
                seen.append(data.get("taskStatus", data["eventType"]))
    assert [name for name in seen if name.startswith("TASK")] == [
        "TASK_STAGING",
        "TASK_STARTING",
        "TASK_RUNNING",
    ]
    assert "deployment_info" in seen


def test_light_plans_omit_the_groups(engine: live.Engine) -> None:
    for query, keys in (("", {"original", "target"}), ("?plan-format=light", set())):
        headers = {"Accept": "text/event-stream"}
        with engine.ask("GET", f"/v2/events{query}", headers=headers, stream=True) as stream:
            lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
            next(line for line in lines if line.startswith("event:"))
            engine.run(f"/a{len(keys)}", "exec sleep 1000")
            line = next(line for line in lines if '"deployment_info"' in line)
        plan = json.loads(line.removeprefix("data: "))["plan"]
        assert plan.keys() == keys | {"id", "version", "steps"}


def test_api_post_events_contain_no_environment(engine: live.Engine) -> None:
    headers = {"Accept": "text/event-stream"}
    with engine.ask("GET", "/v2/events", headers=headers, stream=True) as stream:
        lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
        next(line for line in lines if line.startswith("event:"))
        engine.run("/a", "exec sleep 1000", env={"SECRET": "x"})
        line = next(line for line in lines if '"api_post_event"' in line)
    event = json.loads(line.removeprefix("data: "))
    assert (event["uri"], event["appDefinition"]["id"]) == ("/v2/apps", "/a")
    assert "env" not in event["appDefinition"]


def test_the_event_stream_requires_its_media_type(engine: live.Engine) -> None:
    assert engine.ask("GET", "/v2/events").status_code == 405


def test_a_disconnected_reader_is_detached(engine: live.Engine) -> None:
    pid = engine.process.pid
    headers = {"Accept": "text/event-stream"}
    before = live.descriptors_of(pid)
    for _ in range(5):
        engine.ask("GET", "/v2/events", headers=headers, stream=True).close()
    live.until(lambda: live.descriptors_of(pid) <= before)


def test_files_of_a_task_are_read_as_from_a_mesos_agent(engine: live.Engine) -> None:
    engine.run("/a", "echo hello; exec sleep 1000")
    (task,) = engine.running("/a")
    framework = engine.get("/v2/info")["frameworkId"]
    path = f"/frameworks/{framework}/executors/{task['id']}/runs/latest"
    url = f"/agent/{task['slaveId']}/files/read"
    read = live.until(lambda: engine.ask("GET", url, params={"path": f"{path}/stdout"}).ok)
    assert read
    part = engine.get(url, params={"path": f"{path}/stdout", "offset": 1, "length": 3})
    assert part == {"data": "ell", "offset": 1}
    end = engine.get(url, params={"path": f"{path}/stdout", "offset": -1})
    assert end == {"data": "", "offset": 6}
    for name in ("../stdout", "pipes/stdout", "sandbox", "nothing"):
        response = engine.ask("GET", url, params={"path": f"{path}/{name}"})
        assert response.status_code == 404
    wrong = engine.ask("GET", url, params={"path": f"{path}/stdout", "offset": "x"})
    assert wrong.status_code == 400


def test_a_chunk_of_a_file_that_splits_a_character_keeps_its_bytes(engine: live.Engine) -> None:
    engine.run("/a", r"printf 'h\303\251\n'; exec sleep 1000")
    (task,) = engine.running("/a")
    framework = engine.get("/v2/info")["frameworkId"]
    path = f"/frameworks/{framework}/executors/{task['id']}/runs/latest/stdout"
    url = f"/agent/{task['slaveId']}/files/read"
    piece = {"path": path, "offset": 0, "length": 2}
    live.until(lambda: engine.get(url, params={"path": path, "offset": -1})["offset"] == 4)
    assert engine.ask("GET", url, params=piece).content == b'{"data":"h\xc3","offset":0}'


def test_a_path_outside_the_task_folders_is_404(engine: live.Engine) -> None:
    framework = engine.get("/v2/info")["frameworkId"]
    engine.run("/a", "exec sleep 1000")
    agent = engine.running("/a")[0]["slaveId"]
    for task in ("..", "../x", ".", "a.", "a..", "a.."):
        path = f"/frameworks/{framework}/executors/{task}/runs/latest/stdout"
        response = engine.ask("GET", f"/agent/{agent}/files/read", params={"path": path})
        assert response.status_code == 404


def test_the_engine_listens_on_loopback_only(engine: live.Engine) -> None:
    port = int(engine.url.rpartition(":")[2])
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_the_leader_abdicates_and_is_the_leader_again(engine: live.Engine) -> None:
    response = engine.ask("DELETE", "/v2/leader")
    assert (response.status_code, response.json()) == (200, {"message": "Leadership abdicated"})
    assert engine.url.endswith(engine.get("/v2/leader")["leader"])


def test_json_has_no_spaces(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000", labels={"a": "b, c: d"})
    for path in ("/v2/apps", "/v2/info", "/v2/queue", "/v2/tasks", "/v2/nothing", "/metrics"):
        text = engine.ask("GET", path).text
        assert text == json.dumps(json.loads(text), separators=(",", ":"))


def test_metrics_count_what_there_is(engine: live.Engine) -> None:
    def numbers() -> dict[str, float]:
        metrics = engine.get("/metrics")
        assert metrics.keys() == {"version", "gauges", "counters", "histograms", "meters", "timers"}
        assert all(each.keys() == {"value"} for each in metrics["gauges"].values())
        assert all(each.keys() == {"count"} for each in metrics["counters"].values())
        both = metrics["gauges"] | metrics["counters"]
        return {name: number for name, each in both.items() for number in each.values()}

    marathon = "service.mesosphere.marathon."
    before = numbers()
    assert before[marathon + "app.count"] == before[marathon + "task.running.count"] == 0
    engine.run("/g/a", "exec sleep 1000", instances=2)
    engine.running("/g/a", 2)
    after = numbers()
    assert (after[marathon + "app.count"], after[marathon + "task.running.count"]) == (1, 2)
    assert after[marathon + "group.count"] == before[marathon + "group.count"] + 1
    assert after["fob.engine.cpus.free"] < before["fob.engine.cpus.free"]
    for growing in (marathon + "uptime", "fob.engine.responses.2xx"):
        assert after[growing] > before[growing]
    assert after["fob.engine.events.deployment_success"] >= 1
    assert engine.ask("GET", "/service/marathon/metrics").ok
    assert requests.get(engine.url + "/metrics", timeout=5).status_code == 401
