"""Health checks, observed through the API."""

import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import EventReader, Pages, become, check, counts

import live
from fob.engine.definitions import app_definitions
from fob.engine.runtime.task_folders import TaskFolders
from fob.engine.states import TaskState
from fob.engine.store.records import TaskRecord
from fob.engine.tasks.task import Task

FOREVER = "exec sleep 1000"


def command(value: str, **more: Any) -> dict[str, Any]:
    given = {"protocol": "COMMAND", "command": {"value": value}, "delaySeconds": 0}
    return check(**given) | more


def result(engine: live.Engine) -> Any:
    """The result of the first check of the app's only task."""

    def found() -> Any:
        tasks = engine.app("/a")["tasks"]
        return tasks and tasks[0].get("healthCheckResults")

    return live.until(found, "a result")[0]


def failure(engine: live.Engine) -> str:
    last = live.until(lambda: engine.app("/a").get("lastTaskFailure"), "a failure")
    return str(last["message"])


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    return Pages(tmp_path)


@pytest.mark.parametrize("protocol", ["HTTP", "MESOS_HTTP", "TCP", "MESOS_TCP"])
def test_a_task_that_responds_is_healthy(engine: live.Engine, pages: Pages, protocol: str) -> None:
    engine.run("/a", pages.cmd, healthChecks=[check(protocol=protocol, delaySeconds=0)])
    become(engine, 1, 0)
    (task,) = engine.app("/a")["tasks"]
    (found,) = task["healthCheckResults"]
    assert (found["alive"], found["consecutiveFailures"]) == (True, 0)
    assert found["firstSuccess"] <= found["lastSuccess"]
    assert (found["lastFailure"], found["instanceId"]) == (None, task["id"])


@pytest.mark.parametrize("protocol", ["HTTPS", "MESOS_HTTPS"])
def test_a_certificate_is_not_verified(engine: live.Engine, tmp_path: Path, protocol: str) -> None:
    certificate = tmp_path / "both.pem"
    new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x"
    made = [*new.split(), "-keyout", str(certificate), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(made, check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + (tmp_path / "cert.pem").read_text())
    pages = Pages(tmp_path, certificate=certificate)
    engine.run("/a", pages.cmd, healthChecks=[check(protocol=protocol, delaySeconds=0)])
    become(engine, 1, 0)


@pytest.mark.parametrize(
    ("status", "alive"), [(204, True), (302, True), (404, False), (500, False)]
)
def test_200_to_399_is_healthy(engine: live.Engine, pages: Pages, status: int, alive: bool) -> None:
    engine.run("/a", pages.cmd, healthChecks=[check(maxConsecutiveFailures=0)])
    become(engine, 1, 0)
    pages.respond_with(status)
    pages.wait_for_responses(status, 3)  # the first two have arrived
    assert counts(engine) == (int(alive), int(not alive))


def test_a_check_requests_its_path(engine: live.Engine, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    cmd = f"""exec python3 -c '
import os, socket
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT1"])))
while True:
    client = listener.accept()[0]
    line = client.recv(999).split(b"\\r\\n")[0]
    open("{asked}", "ab").write(line + b"\\n")
    client.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    client.close()
'"""
    ports = [{"port": 0}, {"port": 0}]
    engine.run("/a", cmd, portDefinitions=ports, healthChecks=[check(path="a b?c", portIndex=1)])
    become(engine, 1, 0)
    assert asked.read_text().split("\n")[0] == "GET /a%20b?c HTTP/1.0"


def test_a_check_can_name_a_port_of_the_machine(engine: live.Engine, pages: Pages) -> None:
    engine.run("/served", pages.cmd)
    port = engine.running("/served")[0]["ports"][0]
    without = {"protocol": "HTTP", "port": port, "intervalSeconds": 0}
    engine.run("/a", FOREVER, healthChecks=[without])
    become(engine, 1, 0)


def test_failures_in_the_grace_period_do_not_count_before_the_first_success(
    engine: live.Engine, pages: Pages
) -> None:
    pages.respond_with(500)
    with EventReader(engine, "failed_health_check_event", "health_status_changed_event") as reader:
        engine.run("/a", pages.cmd, healthChecks=[check(maxConsecutiveFailures=1)])
        before = engine.running("/a")
        become(engine, 0, 1)  # it is not alive yet, although the failure does not count
        (result,) = engine.app("/a")["tasks"][0]["healthCheckResults"]
        assert (result["alive"], result["consecutiveFailures"]) == (False, 0)
        assert (result["lastFailure"], result["lastSuccess"]) == (None, None)
        pages.respond_with(200)
        # the event of a failure that counts would come first
        assert reader.next()["eventType"] == "health_status_changed_event"
        become(engine, 1, 0)
    assert [task["id"] for task in engine.running("/a")] == [task["id"] for task in before]


def test_a_task_with_too_many_failures_is_replaced(engine: live.Engine, pages: Pages) -> None:
    types = ("failed_health_check_event", "unhealthy_task_kill_event",
             "unhealthy_instance_kill_event", "health_status_changed_event",
             "instance_health_changed_event")  # fmt: skip
    with EventReader(engine, *types) as reader:
        engine.run("/a", pages.cmd, healthChecks=[check(maxConsecutiveFailures=2)])
        task_id = engine.running("/a")[0]["id"]
        assert reader.next()["healthy"] is True
        assert reader.next()["alive"] is True
        pages.respond_with(503)
        events = [reader.next() for _ in range(6)]
    assert [event["eventType"] for event in events] == [
        "failed_health_check_event",
        "instance_health_changed_event",
        "health_status_changed_event",
        "failed_health_check_event",
        "unhealthy_task_kill_event",
        "unhealthy_instance_kill_event",
    ]
    assert {event["instanceId"] for event in events} == {task_id}
    assert events[0]["healthCheck"]["maxConsecutiveFailures"] == 2
    assert [events[1]["healthy"], events[2]["alive"]] == [False, False]
    assert events[4]["reason"] == "503 Service Unavailable"
    assert failure(engine).startswith(
        "its health check failed 2 times in a row: 503 Service Unavailable"
    )
    pages.respond_with(200)
    become(engine, 1, 0)
    assert engine.running("/a")[0]["id"] != task_id


def test_without_a_maximum_no_number_of_failures_kills(engine: live.Engine, pages: Pages) -> None:
    engine.run("/a", pages.cmd, healthChecks=[check(maxConsecutiveFailures=0)])
    become(engine, 1, 0)
    pages.respond_with(500)
    live.until(lambda: result(engine)["consecutiveFailures"] > 4, "five failures")
    assert result(engine)["lastFailureCause"] == "500 Internal Server Error"
    pages.respond_with(200)
    become(engine, 1, 0)
    assert result(engine)["consecutiveFailures"] == 0


def test_ignored_1xx_responses_are_no_result(engine: live.Engine, pages: Pages) -> None:
    ignoring = check(ignoreHttp1xx=True, maxConsecutiveFailures=0)
    engine.run("/a", pages.cmd, healthChecks=[ignoring, check(maxConsecutiveFailures=0)])
    become(engine, 1, 0)
    pages.respond_with(102)
    become(engine, 0, 1)
    pages.wait_for_responses(102, 4)
    ignored, counted = engine.app("/a")["tasks"][0]["healthCheckResults"]
    assert (ignored["alive"], ignored["lastFailure"]) == (True, None)
    assert counted["lastFailureCause"] == "102 Processing"


def test_a_server_that_never_responds_is_unhealthy(engine: live.Engine) -> None:
    cmd = """exec python3 -c '
import os, socket, time
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT0"])))
time.sleep(1000)
'"""
    slow = check(timeoutSeconds=1, gracePeriodSeconds=0, maxConsecutiveFailures=0)
    engine.run("/a", cmd, healthChecks=[slow])
    live.until(lambda: "no response within" in (result(engine)["lastFailureCause"] or ""))


def test_a_command_runs_in_the_sandbox_and_environment_of_the_task(engine: live.Engine) -> None:
    well = command('test "$WORD" = well && test -e here && test "$PWD" = "$MESOS_SANDBOX"')
    engine.run("/a", f"touch here; {FOREVER}", env={"WORD": "well"}, healthChecks=[well])
    become(engine, 1, 0)


def test_a_failed_command_is_reported_with_its_status_and_last_line(engine: live.Engine) -> None:
    ill = command("echo so ill; exit 7", gracePeriodSeconds=0, maxConsecutiveFailures=0)
    engine.run("/a", FOREVER, healthChecks=[ill])
    assert result(engine)["lastFailureCause"] == "Command exited with status 7: so ill"


def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(
    engine: live.Engine, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    slow = f"sleep 1000 & echo $! $$ >> {pids}; wait"
    once = command(slow, timeoutSeconds=1, gracePeriodSeconds=0, intervalSeconds=60,
                   maxConsecutiveFailures=0)  # fmt: skip
    engine.run("/a", FOREVER, healthChecks=[once])
    assert "no response within 1 seconds" in result(engine)["lastFailureCause"]
    for pid in pids.read_text().split():
        live.until(lambda pid=pid: not _runs(pid), f"the end of {pid}")


def test_a_command_ends_with_its_task(engine: live.Engine, tmp_path: Path) -> None:
    pid = _first_pid(engine, tmp_path)
    engine.ask("PUT", "/v2/apps//a?force=true", json={"instances": 0})
    live.until(lambda: not _runs(pid), "its end")


def test_a_command_ends_with_its_engine(
    start_engine: Callable[..., live.Engine], tmp_path: Path
) -> None:
    engine = start_engine()
    pid = _first_pid(engine, tmp_path)
    engine.kill()
    start_engine()  # first it kills what the earlier one has left
    live.until(lambda: not _runs(pid), "its end")
    live.until(lambda: len((tmp_path / "pids").read_text().split()) == 2, "another check")


def _first_pid(engine: live.Engine, folder: Path) -> str:
    """The pid of a slow check."""
    pids = folder / "pids"
    slow = command(f"echo $$ >> {pids}; exec sleep 1000", timeoutSeconds=900)
    engine.run("/a", FOREVER, healthChecks=[slow])
    return str(live.until(lambda: pids.exists() and pids.read_text().strip()))


def _runs(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False


def test_a_mesos_check_begins_after_its_delay(engine: live.Engine, pages: Pages) -> None:
    later = check(protocol="MESOS_HTTP", delaySeconds=900)
    now = check()
    engine.run("/a", pages.cmd, healthChecks=[later, now])

    def results() -> list[bool]:
        (task,) = engine.app("/a")["tasks"]
        return [result["alive"] for result in task.get("healthCheckResults", [])]

    live.until(lambda: results() == [True], "one result, and not of the other check")
    # a task is healthy only by all its checks
    assert counts(engine) == (0, 0)


def test_adopted_tasks_are_checked_again(
    start_engine: Callable[..., live.Engine], pages: Pages
) -> None:
    engine = start_engine()
    engine.run("/a", pages.cmd, healthChecks=[check(maxConsecutiveFailures=0)])
    become(engine, 1, 0)
    before = [task["id"] for task in engine.running("/a")]
    engine.kill()
    again = start_engine()
    become(again, 1, 0)
    assert [task["id"] for task in again.running("/a")] == before
    pages.respond_with(500)
    become(again, 0, 1)


def test_a_deployment_waits_for_health(engine: live.Engine, pages: Pages) -> None:
    pages.respond_with(500)
    engine.run("/a", pages.cmd, healthChecks=[check()])
    engine.running("/a")
    assert len(engine.get("/v2/deployments")) == 1
    pages.respond_with(200)
    live.until(lambda: not engine.get("/v2/deployments"), "its end")


def test_checks_have_marathons_defaults(engine: live.Engine, pages: Pages) -> None:
    engine.run("/a", pages.cmd, healthChecks=[{}, {"protocol": "TCP", "port": 80}])
    assert engine.app("/a")["healthChecks"] == [
        {
            "protocol": "HTTP",
            "path": "/",
            "portIndex": 0,
            "gracePeriodSeconds": 300,
            "intervalSeconds": 60,
            "timeoutSeconds": 20,
            "maxConsecutiveFailures": 3,
            "delaySeconds": 15,
            "ignoreHttp1xx": False,
        },
        {
            "protocol": "TCP",
            "port": 80,
            "gracePeriodSeconds": 300,
            "intervalSeconds": 60,
            "timeoutSeconds": 20,
            "maxConsecutiveFailures": 3,
            "delaySeconds": 15,
        },
    ]


@pytest.mark.parametrize(("labels", "checks"), [({}, 1), ({"FOB_ACTIVATION": "always"}, 0)])
def test_an_activated_task_is_not_probed(
    tmp_path: Path, labels: dict[str, str], checks: int
) -> None:
    app = {"id": "/a", "cmd": "true", "labels": labels, "healthChecks": [check()]}
    record = TaskRecord("a.1", "/a", "", TaskState.RUNNING, (1,), 1, 1, "")
    folders = TaskFolders(tmp_path, tmp_path / "spare")
    task = Task(record, app_definitions.complete(app), folders, lambda *_: None, lambda *_: None)
    assert len(task.health) == checks


NO_PORT = (
    "Health check port indices must address an element of the ports array or container port "
    "mappings."
)


@pytest.mark.parametrize(
    ("given", "path", "error"),
    [
        ({"protocol": "PING"}, "/healthChecks(0)/protocol", None),
        ({"portIndex": 1}, "/healthChecks(0)", NO_PORT),
        ({"portIndex": -1}, "/healthChecks(0)/portIndex", None),
        ({"protocol": "COMMAND"}, "/healthChecks(0)/command", "error.path.missing"),
        ({"intervalSeconds": "1"}, "/healthChecks(0)/intervalSeconds", "error.expected.jsnumber"),
        ({"timeoutSeconds": -1}, "/healthChecks(0)/timeoutSeconds", None),
    ],
)
def test_an_invalid_health_check_is_rejected(
    engine: live.Engine, given: dict[str, Any], path: str, error: str | None
) -> None:
    app = {"id": "/a", "cmd": "true", "healthChecks": [given]}
    response = engine.ask("POST", "/v2/apps", json=app)
    assert response.status_code == 422, response.text
    (fault,) = response.json()["details"]
    assert fault["path"] == path
    assert error in (None, fault["errors"][0])
