"""Readiness checks: a deployment waits until its new tasks are ready for their work."""

from pathlib import Path
from typing import Any

import pytest
from serving import Heard, Pages

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
    pages.answer(503)
    deploy(engine, pages, preserveLastResponse=True)
    pages.have_given(503, 2)
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
    pages.answer(200)
    done(engine)


def test_any_status_that_is_given_says_ready(engine: live.Engine, pages: Pages) -> None:
    pages.answer(503)
    deploy(engine, pages, httpStatusCodesForReady=[503])
    done(engine)


def test_an_app_tells_of_its_readiness_where_that_is_asked_for(
    engine: live.Engine, pages: Pages
) -> None:
    deploy(engine, pages, name="up")
    done(engine)
    (app,) = engine.get("/v2/apps?embed=apps.readiness")["apps"]
    assert [(r["name"], r["ready"]) for r in app["readinessCheckResults"]] == [("up", True)]
    assert "lastResponse" not in app["readinessCheckResults"][0]
    (plain,) = engine.get("/v2/apps")["apps"]
    assert "readinessCheckResults" not in plain


def test_who_is_ready_is_asked_no_more(engine: live.Engine, pages: Pages) -> None:
    deploy(engine, pages)
    done(engine)
    assert pages.given(200) == 1


def test_without_a_deployment_nobody_asks(engine: live.Engine, pages: Pages) -> None:
    deploy(engine, pages)
    done(engine)
    (task,) = engine.running("/a")
    pages.answer(503)
    with Heard(engine, "status_update_event") as heard:
        engine.ask("DELETE", f"/v2/apps//a/tasks/{task['id']}")
        heard.next(lambda event: event["taskStatus"] == "TASK_RUNNING")
    (app,) = engine.get("/v2/apps?embed=apps.readiness")["apps"]
    assert app["readinessCheckResults"] == []
    assert pages.given(503) == 0


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
def test_what_is_no_readiness_check_is_refused(
    engine: live.Engine, given: Any, path: str, error: str
) -> None:
    app = {"id": "/a", "cmd": "true", "portDefinitions": PORTS, "readinessChecks": given}
    answer = engine.ask("POST", "/v2/apps", json=app)
    assert answer.status_code == 422, answer.text
    (told,) = answer.json()["details"]
    assert (told["path"], told["errors"][0]) == (path, error)
