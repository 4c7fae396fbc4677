"""A client that caches the list of apps learns of every change from one small event."""

import json
from typing import Any

import live

MANY = "/v2/tasks/delete?scale=true"


def changes(engine: live.Engine, after: int) -> list[tuple[str, str]]:
    """Group and version of the changes published since the event `after`."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    path = "/v2/events?event_type=group_change_success&event_type=event_stream_attached"
    found = []
    with engine.ask("GET", path, headers=headers, stream=True) as stream:
        for line in stream.iter_lines(chunk_size=1):
            data = json.loads(line[6:]) if line.startswith(b"data: ") else {}
            if data.get("eventType") == "event_stream_attached":
                return found
            if data:
                found.append((data["groupId"], data["version"]))
    return found


def change(engine: live.Engine, method: str, path: str, body: Any = None) -> str:
    response = engine.ask(method, path, json=body)
    assert response.ok, response.text
    return str(response.json()["version"])


def test_every_change_of_an_app_is_published_with_the_version_in_its_response(
    engine: live.Engine,
) -> None:
    versions = [engine.run("/g/a", "exec sleep 1000", instances=2)["version"]]
    engine.running("/g/a", 2)
    versions.append(change(engine, "PUT", "/v2/apps/g/a", {"instances": 3}))
    task = engine.running("/g/a", 3)[0]["id"]
    versions.append(change(engine, "POST", MANY, {"ids": [task]}))
    engine.running("/g/a", 2)
    versions.append(change(engine, "POST", "/v2/apps/g/a/restart", {}))
    live.until(lambda: engine.get("/v2/deployments") == [])
    versions.append(change(engine, "PUT", "/v2/apps/g/a", {"labels": {"A": "b"}}))
    live.until(lambda: engine.get("/v2/deployments") == [])
    versions.append(change(engine, "DELETE", "/v2/apps/g/a"))
    assert changes(engine, after=0) == [("/g", version) for version in versions]


def test_a_change_in_several_groups_is_published_for_the_root(engine: live.Engine) -> None:
    apps = [{"id": f"/{g}/a", "cmd": "exec sleep 1000", "cpus": 0.01, "mem": 16} for g in "gh"]
    version = change(engine, "PUT", "/v2/apps", apps)
    assert changes(engine, after=0) == [("/", version)]
