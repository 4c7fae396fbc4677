"""Readiness checks: a deployment waits until its new tasks are ready."""

from pathlib import Path
from typing import Any

import pytest
from serving import EventReader, Pages

import live

PORTS = [{"port": 0, "name": "http-api"}]


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages(tmp_path)


def ready(**more: Any) -> list[dict[str, Any]]:
    return [{"path": "/ready", "intervalSeconds": 5, "timeoutSeconds": 4} | more]


def deploy(engine: live.Engine, pages: Pages, **more: Any) -> None:
    engine.run("/a", pages.cmd, portDefinitions=PORTS, readinessChecks=ready(**more))


def done(engine: live.Engine) -> None:
    live.until(lambda: not engine.get("/v2/deployments"), "the end of deployments")


def test_a_deployment_waits_until_a_task_is_ready(engine: live.Engine, pages: Pages) -> None:
    pages.respond_with(503)
    deploy(engine, pages, preserveLastResponse=True)
    pages.wait_for_responses(503, 2)
    (task,) = engine.running("/a")
    (deployment,) = engine.get("/v2/deployments")
    (action,) = deployment["currentActions"]
    (result,) = action["readinessCheckResults"]
    assert result == {
        "name": "readinessCheck",
        "taskId": task["id"],
        "ready": False,
        "lastResponse": {"status": 503, "contentType": "text/plain", "body": "/ready"},
    }
    pages.respond_with(200)
    done(engine)


def test_the_statuses_that_mean_ready_can_be_chosen(engine: live.Engine, pages: Pages) -> None:
    pages.respond_with(503)
    deploy(engine, pages, httpStatusCodesForReady=[503])
    done(engine)


def test_results_are_part_of_an_app_when_embedded(engine: live.Engine, pages: Pages) -> None:
    deploy(engine, pages, name="up")
    done(engine)
    (app,) = engine.get("/v2/apps?embed=apps.readiness")["apps"]
    assert [(r["name"], r["ready"]) for r in app["readinessCheckResults"]] == [("up", True)]
    assert "lastResponse" not in app["readinessCheckResults"][0]
    (plain,) = engine.get("/v2/apps")["apps"]
    assert "readinessCheckResults" not in plain


def test_a_ready_task_is_not_probed_again(engine: live.Engine, pages: Pages) -> None:
    deploy(engine, pages)
    done(engine)
    assert pages.responses(200) == 1


def test_without_a_deployment_there_is_no_probe(engine: live.Engine, pages: Pages) -> None:
    deploy(engine, pages)
    done(engine)
    (task,) = engine.running("/a")
    pages.respond_with(503)
    with EventReader(engine, "status_update_event") as events:
        engine.ask("DELETE", f"/v2/apps//a/tasks/{task['id']}")
        events.next(lambda event: event["taskStatus"] == "TASK_RUNNING")
    (app,) = engine.get("/v2/apps?embed=apps.readiness")["apps"]
    assert app["readinessCheckResults"] == []
    assert pages.responses(503) == 0


NO_PORT = "No port definition reference for portName x"


@pytest.mark.parametrize(
    ("given", "path", "error"),
    [
        (ready(protocol="TCP"), "/readinessChecks(0)/protocol", "error.unknown.enum.literal"),
        (ready(portName="x"), "/readinessChecks(0)/portName", NO_PORT),
        (
            ready(timeoutSeconds=5),
            "/readinessChecks(0)/timeoutSeconds",
            "got 5, expected less than 5",
        ),
        (ready() + ready(), "/readinessChecks", "got 2, expected 1 or less"),
        (
            ready(httpStatusCodesForReady="200"),
            "/readinessChecks(0)/httpStatusCodesForReady",
            "error.expected.jsarray",
        ),
    ],
)
def test_an_invalid_readiness_check_is_rejected(
    engine: live.Engine, given: Any, path: str, error: str
) -> None:
    app = {"id": "/a", "cmd": "true", "portDefinitions": PORTS, "readinessChecks": given}
    response = engine.ask("POST", "/v2/apps", json=app)
    assert response.status_code == 422, response.text
    (fault,) = response.json()["details"]
    assert (fault["path"], fault["errors"][0]) == (path, error)
