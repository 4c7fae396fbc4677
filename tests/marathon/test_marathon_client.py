"""The client's methods, with right and wrong responses of old and new Marathons."""

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import marathon_answers as says
import pytest
import requests
import responses
import urllib3
from responses import matchers

from fob.errors import (
    AppNotFound,
    Conflict,
    FobError,
    MarathonBusy,
    MarathonError,
    MarathonRefused,
    MarathonSilent,
    NotFound,
)
from fob.marathon import Marathon, TaskInfo, client
from fob.marathon.task_table import tasks_of

URL = "http://master.mesos/service/marathon"
APPS = f"{URL}/v2/apps"
APP = f"{APPS}{says.APP_ID}"
DEFINITION = {"id": says.APP_ID, "cmd": "exec python3", "cpus": 0.1, "mem": 64}

Use = Callable[[Marathon], Awaitable[Any]]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GET_PAUSES", (0.001, 0.001))
    monkeypatch.setattr(client, "CHANGE_PAUSES", (0.001, 0.001))


@pytest.fixture
def marathon() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def use(verb: Use, url: str = URL, **settings: Any) -> Any:
    """Return the result of `verb` with a client that is closed afterwards."""

    async def run() -> Any:
        marathon = Marathon(url, **settings)
        try:
            return await verb(marathon)
        finally:
            await marathon.close()

    return asyncio.run(run())


def create(marathon: Marathon) -> Awaitable[Any]:
    return marathon.create(says.APP_ID, lambda send: send(DEFINITION))


def calls(mock: responses.RequestsMock) -> list[str]:
    """The requests; that all but one may be answered without long values is tested by itself."""
    asked = [f"{call.request.method} {call.request.path_url}" for call in mock.calls]
    return [each.removesuffix("?omit=long") for each in asked]


def lost(reason: Exception) -> requests.ConnectionError:
    return requests.ConnectionError(urllib3.exceptions.ProtocolError("Connection aborted.", reason))


def unreachable() -> requests.ConnectionError:
    pool = urllib3.HTTPConnectionPool("master.mesos")
    reason = urllib3.exceptions.NewConnectionError(pool, "Connection refused")
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(pool, "/", reason))


# responses of every version


@pytest.mark.parametrize("version", says.VERSIONS)
def test_an_app_is_created(version: str, marathon: responses.RequestsMock) -> None:
    marathon.post(
        APPS,
        status=201,
        json=says.created(version, DEFINITION),
        match=[matchers.json_params_matcher(DEFINITION)],
    )
    app = use(create)
    assert app["deployments"] == [{"id": "d-1"}]
    assert marathon.calls[0].request.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("version", says.VERSIONS)
def test_an_app_is_read_with_its_tasks(version: str, marathon: responses.RequestsMock) -> None:
    marathon.get(APP, json={"app": says.app(version, [says.task(version)])})
    app = use(lambda m: m.app(says.APP_ID))
    (task,) = tasks_of(app)
    assert task.ready
    assert (task.host, task.ports) == ("10.0.6.172", (25974,))


@pytest.mark.parametrize("version", says.VERSIONS)
@pytest.mark.parametrize(
    ("running", "alive", "ready"),
    [(True, True, True), (True, False, False), (True, None, False), (False, None, False)],
)
def test_a_task_is_ready_when_it_runs_and_is_healthy(
    version: str, running: bool, alive: bool | None, ready: bool
) -> None:
    (task,) = tasks_of(says.app(version, [says.task(version, running, alive)]))
    assert task.ready is ready


@pytest.mark.parametrize("version", says.VERSIONS)
def test_without_health_checks_running_is_enough(version: str) -> None:
    app = says.app(version, [says.task(version, alive=None)], healthChecks=[])
    (task,) = tasks_of(app)
    assert task.ready
    assert task.healthy is None


def test_a_task_on_a_container_network_has_addresses_instead_of_ports() -> None:
    bare = says.task("1.5.8") | {"ports": None, "ipAddresses": [{"ipAddress": "9.0.0.2"}, {}]}
    task = TaskInfo.from_json(bare, 0)
    assert (task.ports, task.ip_addresses) == ((), ("9.0.0.2",))


@pytest.mark.parametrize("version", says.VERSIONS)
def test_all_apps_are_in_one_response(version: str, marathon: responses.RequestsMock) -> None:
    marathon.get(f"{APPS}/fob-aviary/*", json={"*": [says.app(version), says.app(version)]})
    assert len(use(lambda m: m.apps())) == 2
    assert len(marathon.calls) == 1


def test_a_group_that_does_not_exist_has_no_apps(marathon: responses.RequestsMock) -> None:
    missing = {"message": "Group '/fob-aviary' does not exist"}
    marathon.get(f"{APPS}/fob-aviary/*", status=404, json=missing)
    assert use(lambda m: m.apps()) == []


def test_a_404_of_another_server_does_not_make_the_list_empty(
    marathon: responses.RequestsMock,
) -> None:
    marathon.get(f"{APPS}/fob-aviary/*", status=404, body="<html>nginx</html>")
    with pytest.raises(MarathonRefused, match="MARATHON_API"):
        use(lambda m: m.apps())


def test_a_missing_app_is_not_found(marathon: responses.RequestsMock) -> None:
    marathon.get(APP, status=404, json=says.MISSING)
    with pytest.raises(AppNotFound, match="does not exist"):
        use(lambda m: m.app(says.APP_ID))


def test_a_change_is_a_put_and_can_be_forced(marathon: responses.RequestsMock) -> None:
    answer = {"version": "2016-04-02T23:09:46.999Z", "deploymentId": "d-2"}
    marathon.put(
        APP,
        json=answer,
        match=[
            matchers.json_params_matcher({"instances": 3}),
            matchers.query_param_matcher({"force": "true"}),
        ],
    )
    assert use(lambda m: m.update(says.APP_ID, {"instances": 3}, force=True)) == answer


def test_queue_and_info_are_read(marathon: responses.RequestsMock) -> None:
    item = {"app": {"id": says.APP_ID}, "count": 1, "delay": {"timeLeftSeconds": 3}}
    marathon.get(f"{URL}/v2/queue", json={"queue": [item]})
    marathon.get(f"{URL}/v2/info", json={"version": "1.5.8", "frameworkId": "F"})

    async def both(m: Marathon) -> Any:
        return await m.queue(), await m.info()

    assert use(both) == ([item], {"version": "1.5.8", "frameworkId": "F"})


def test_tasks_and_deployments_are_read(marathon: responses.RequestsMock) -> None:
    marathon.get(f"{URL}/v2/tasks", json={"tasks": [says.task("1.5.8")]})
    marathon.get(f"{URL}/v2/deployments", json=[{"id": "d-1", "affectedApps": [says.APP_ID]}])

    async def both(m: Marathon) -> Any:
        return await m.tasks(), await m.deployments()

    tasks, deployments = use(both)
    assert [task["appId"] for task in tasks] == [says.APP_ID]
    assert [each["affectedApps"] for each in deployments] == [[says.APP_ID]]


def test_long_values_are_requested_only_where_they_are_needed(
    marathon: responses.RequestsMock,
) -> None:
    marathon.post(APPS, status=201, json=says.created("1.5.8", DEFINITION))
    marathon.get(APP, json={"app": says.app("1.5.8")})
    marathon.get(f"{APPS}/fob-aviary/*", json={"*": []})
    marathon.get(f"{URL}/v2/queue", json={"queue": []})

    async def all_of_them(m: Marathon) -> None:
        await create(m)
        await m.app(says.APP_ID, whole=False)
        await m.apps()
        await m.queue()
        await m.app(says.APP_ID)

    use(all_of_them)
    *brief, whole = [call.request.params for call in marathon.calls]  # type: ignore[union-attr]
    assert brief == [{"omit": "long"}] * 4
    assert whole == {}


@pytest.mark.parametrize(
    "body", ["[]", '{"app": {}}', '"pong"', '{"*": [{"id": 1}]}', '{"*": 5}', "3"]
)
def test_a_response_of_another_form_is_an_error(
    body: str, marathon: responses.RequestsMock
) -> None:
    marathon.get(re.compile(".*"), body=body)
    with pytest.raises(MarathonError, match="does not have the form"):
        use(lambda m: m.apps() if "*" in body else m.app(says.APP_ID))


def test_null_in_place_of_a_list_is_an_empty_list(marathon: responses.RequestsMock) -> None:
    marathon.get(f"{APPS}/fob-aviary/*", json={"*": None})
    marathon.get(f"{URL}/v2/tasks", json={"tasks": None})
    marathon.get(f"{URL}/v2/queue", json={"queue": None})

    async def all_of_them(m: Marathon) -> Any:
        return await m.apps(), await m.tasks(), await m.queue()

    assert use(all_of_them) == ([], [], [])


@pytest.mark.parametrize("verb", ["tasks", "queue"])
def test_a_missing_list_is_an_error(verb: str, marathon: responses.RequestsMock) -> None:
    marathon.get(re.compile(".*"), json={})
    with pytest.raises(MarathonError, match="does not have the form"):
        use(lambda m: getattr(m, verb)())


@pytest.mark.parametrize(
    ("answer", "away"),
    [
        ({"json": {}}, False),
        ({"status": 401, "body": says.HTML_401}, False),
        ({"status": 404, "json": says.MISSING}, False),
        ({"status": 502, "body": says.HTML_502}, True),
        ({"status": 503, "json": {"message": "no leader"}}, True),
        ({"body": unreachable()}, True),
        ({"body": requests.ReadTimeout("slow")}, True),
    ],
)
def test_a_marathon_is_away_until_it_responds(
    answer: dict[str, Any], away: bool, marathon: responses.RequestsMock
) -> None:
    async def ask(m: Marathon) -> tuple[bool, bool]:
        with contextlib.suppress(FobError):
            await m.info()
        first = m.away
        marathon.get(f"{URL}/v2/queue", json={"queue": []})
        await m.queue()
        return first, m.away

    marathon.get(f"{URL}/v2/info", **answer)
    assert use(ask) == (away, False)


# credentials


@pytest.mark.parametrize(
    ("url", "settings", "expected"),
    [
        (URL, {}, None),
        (URL, {"token": "eyJ.abc"}, "token=eyJ.abc"),
        (URL, {"user": "ann", "password": "pw"}, "Basic YW5uOnB3"),
        ("http://ann:pw@master.mesos/service/marathon/", {}, "Basic YW5uOnB3"),
    ],
)
def test_credentials_are_sent(
    url: str, settings: dict[str, str], expected: str | None, marathon: responses.RequestsMock
) -> None:
    marathon.get(f"{URL}/v2/info", json={})
    use(lambda m: m.info(), url, **settings)
    assert marathon.calls[0].request.headers.get("Authorization") == expected


def test_no_secret_is_in_an_error_or_a_log(
    marathon: responses.RequestsMock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    marathon.get(f"{URL}/v2/info", body=lost(ConnectionResetError(104, "Connection reset by peer")))
    with pytest.raises(MarathonSilent) as caught:
        use(lambda m: m.info(), "http://ann:s3cret@master.mesos/service/marathon")
    shown = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.body()} {caplog.text}"
    assert "s3cret" not in shown
    assert "master.mesos" in shown


# retries


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 502, "body": says.HTML_502},
        {"status": 503, "json": {"message": "no leader"}},
        {"body": unreachable()},
        {"body": lost(ConnectionResetError(104, "Connection reset by peer"))},
    ],
)
def test_a_get_is_retried_after_a_transient_failure(
    failure: dict[str, Any], marathon: responses.RequestsMock
) -> None:
    marathon.get(f"{URL}/v2/info", **failure)
    marathon.get(f"{URL}/v2/info", json={"version": "1.11.24"})
    assert use(lambda m: m.info()) == {"version": "1.11.24"}


def test_a_get_is_not_retried_forever(marathon: responses.RequestsMock) -> None:
    marathon.get(f"{URL}/v2/info", status=503, headers={"Retry-After": "7"})
    with pytest.raises(MarathonBusy) as caught:
        use(lambda m: m.info())
    assert len(marathon.calls) == 3
    assert caught.value.headers == {"Retry-After": "7"}


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 500, "body": "no"},
        {"status": 401, "body": says.HTML_401},
        {"body": requests.ReadTimeout("slow")},
    ],
)
def test_a_get_is_not_retried_after_other_failures(
    failure: dict[str, Any], marathon: responses.RequestsMock
) -> None:
    marathon.get(f"{URL}/v2/info", **failure)
    with pytest.raises(FobError):
        use(lambda m: m.info())
    assert len(marathon.calls) == 1


def test_a_change_of_a_locked_app_is_retried(marathon: responses.RequestsMock) -> None:
    marathon.put(APP, status=409, json=says.LOCKED)
    marathon.put(APP, json={"version": "v", "deploymentId": "d"})
    assert use(lambda m: m.update(says.APP_ID, {"instances": 1}))["deploymentId"] == "d"


def test_an_app_that_stays_locked_is_a_conflict_that_names_the_deployment(
    marathon: responses.RequestsMock,
) -> None:
    marathon.put(APP, status=409, json=says.LOCKED)
    with pytest.raises(Conflict, match="97c136bf") as caught:
        use(lambda m: m.update(says.APP_ID, {"instances": 1}))
    assert (len(marathon.calls), caught.value.code) == (3, "app_locked")


def test_a_removal_cancels_a_deployment_that_keeps_the_lock(
    marathon: responses.RequestsMock,
) -> None:
    marathon.delete(APP, status=409, json=says.LOCKED, match=[matchers.query_param_matcher({})])
    forced = matchers.query_param_matcher({"force": "true"})
    marathon.delete(APP, json={"version": "v"}, match=[forced])
    assert use(lambda m: m.delete(says.APP_ID)) == {"version": "v"}


def test_removing_a_missing_app_is_not_found(marathon: responses.RequestsMock) -> None:
    marathon.delete(APP, status=404, json=says.MISSING)
    with pytest.raises(AppNotFound):
        use(lambda m: m.delete(says.APP_ID))


def test_too_many_deployments_are_retried(marathon: responses.RequestsMock) -> None:
    marathon.post(APPS, status=403, json=says.TOO_MANY)
    marathon.post(APPS, status=201, json=says.created("1.6.352", DEFINITION))
    assert use(create)["id"] == says.APP_ID


def test_too_many_deployments_for_long_are_busy_and_nothing_else_is_requested(
    marathon: responses.RequestsMock,
) -> None:
    marathon.post(APPS, status=403, json=says.TOO_MANY)
    with pytest.raises(MarathonBusy, match="Max number") as caught:
        use(create)
    assert caught.value.headers == {"Retry-After": "5"}
    assert calls(marathon) == ["POST /service/marathon/v2/apps"] * 3


# a POST whose response leaves open what happened

UNCLEAR: list[dict[str, Any]] = [
    {"status": 502, "body": says.HTML_502},
    {"status": 503, "json": {"message": "Futures timed out"}},
    {"status": 504, "body": "<html><title>Gateway Time-out</title></html>"},
    {"status": 500, "json": {"message": "internal"}},
    {"status": 201, "body": '{"id": "/fob-avi'},
    {"status": 200, "body": "<html>a proxy's idea</html>"},
    {"body": requests.ReadTimeout("slow")},
    {"body": lost(ConnectionResetError(104, "Connection reset by peer"))},
]


@pytest.mark.parametrize("answer", UNCLEAR)
def test_an_unclear_post_succeeds_if_the_app_exists(
    answer: dict[str, Any], marathon: responses.RequestsMock
) -> None:
    marathon.post(APPS, **answer)
    marathon.get(APP, json={"app": says.app("1.5.8")})
    assert use(create)["id"] == says.APP_ID
    assert len(marathon.calls) == 2


@pytest.mark.parametrize("answer", UNCLEAR)
def test_an_unclear_post_raises_its_own_error_if_the_app_does_not_exist(
    answer: dict[str, Any], marathon: responses.RequestsMock
) -> None:
    marathon.post(APPS, **answer)
    marathon.get(APP, status=404, json=says.MISSING)
    with pytest.raises(MarathonError) as caught:
        use(create)
    assert caught.value.code != "not_found"
    assert len(marathon.calls) == 2


@pytest.mark.parametrize("answer", UNCLEAR)
def test_a_post_whose_outcome_stays_unknown_is_unsure(
    answer: dict[str, Any], marathon: responses.RequestsMock
) -> None:
    marathon.post(APPS, **answer)
    marathon.get(APP, status=500, body="no")
    with pytest.raises(MarathonError, match="not known") as caught:
        use(create)
    assert caught.value.code == "marathon_unsure"


def test_a_post_that_timed_out_may_still_be_carried_out(
    marathon: responses.RequestsMock,
) -> None:
    marathon.post(APPS, body=requests.ReadTimeout("slow"))
    marathon.get(APP, status=404, json=says.MISSING)
    with pytest.raises(MarathonSilent) as caught:
        use(create)
    assert caught.value.code == "marathon_unsure"


def test_a_post_that_timed_out_in_marathon_may_still_be_carried_out(
    marathon: responses.RequestsMock,
) -> None:
    marathon.post(APPS, status=503, json={"message": "Futures timed out"})
    marathon.get(APP, status=404, json=says.MISSING)
    with pytest.raises(MarathonBusy, match="Futures timed out") as caught:
        use(create)
    assert (caught.value.code, caught.value.status) == ("marathon_unsure", 503)
    assert caught.value.headers == {"Retry-After": "5"}


def test_a_502_keeps_its_code_and_class_if_the_app_does_not_exist(
    marathon: responses.RequestsMock,
) -> None:
    marathon.post(APPS, status=502, body=says.HTML_502)
    marathon.get(APP, status=404, json=says.MISSING)
    with pytest.raises(MarathonBusy, match="502 Bad Gateway") as caught:
        use(create)
    assert (caught.value.code, caught.value.status) == ("marathon_busy", 503)


def test_already_exists_is_a_success_because_ids_are_unique(
    marathon: responses.RequestsMock,
) -> None:
    marathon.post(APPS, status=409, json=says.EXISTS)
    marathon.get(APP, json={"app": says.app("1.4.0")})
    assert use(create)["id"] == says.APP_ID


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"status": 422, "json": says.NOT_VALID}, "marathon_refused"),
        ({"status": 400, "json": says.TYPE_ERROR}, "marathon_refused"),
        ({"status": 401, "body": says.HTML_401}, "marathon_unauthorized"),
        ({"status": 403, "body": says.HTML_401}, "marathon_forbidden"),
        ({"status": 415, "json": {"message": "no"}}, "marathon_refused"),
        ({"status": 302, "headers": {"Location": "/login"}}, "marathon_redirects"),
        ({"body": unreachable()}, "marathon_unreachable"),
        ({"body": requests.ConnectTimeout("slow")}, "marathon_unreachable"),
        ({"body": requests.exceptions.ProxyError("no")}, "marathon_unreachable"),
    ],
)
def test_a_post_that_was_not_carried_out_is_sent_once_and_not_checked(
    answer: dict[str, Any], code: str, marathon: responses.RequestsMock
) -> None:
    marathon.post(APPS, **answer)
    with pytest.raises(MarathonError) as caught:
        use(create)
    assert caught.value.code == code
    assert calls(marathon) == ["POST /service/marathon/v2/apps"]


# files of tasks


def task() -> TaskInfo:
    return TaskInfo.from_json(says.task("1.5.8"), 1)


@pytest.mark.parametrize(
    ("base", "agent"),
    [
        (URL, "http://master.mesos/agent/7df50a5b-7c36-4a5a-a2d7-7c2cc2bd1d3a-S1"),
        ("http://marathon.mesos:8080", "http://10.0.6.172:5051"),
    ],
)
def test_a_file_is_read_from_the_agent(
    base: str, agent: str, marathon: responses.RequestsMock
) -> None:
    path = f"/frameworks/F/executors/{task().id}/runs/latest/stdout"
    expected = {"path": path, "offset": "4", "length": "100"}
    marathon.get(f"{base}/v2/info", json={"frameworkId": "F"})
    marathon.get(
        f"{agent}/files/read",
        json={"data": "hello", "offset": 4},
        match=[matchers.query_param_matcher(expected)],
    )

    async def twice(m: Marathon) -> Any:
        return [await m.read_file(task(), "stdout", 4, 100) for _ in range(2)]

    assert use(twice, base, token="t") == [("hello", 4)] * 2
    infos = [call for call in calls(marathon) if call.endswith("/v2/info")]
    assert len(infos) == 1


def test_an_agent_outside_the_admin_router_gets_no_credentials(
    marathon: responses.RequestsMock,
) -> None:
    marathon.get("http://marathon.mesos:8080/v2/info", json={"frameworkId": "F"})
    marathon.get("http://10.0.6.172:5051/files/read", json={"data": "", "offset": 12})
    size = use(
        lambda m: m.read_file(task(), "stdout", -1, 0), "http://marathon.mesos:8080", token="t"
    )
    assert size == ("", 12)
    sent = [call.request.headers.get("Authorization") for call in marathon.calls]
    assert sent == ["token=t", None]


@pytest.mark.parametrize("body", ["", "<html>Not found</html>", json.dumps({"message": "No"})])
def test_a_missing_file_is_not_found(body: str, marathon: responses.RequestsMock) -> None:
    marathon.get(f"{URL}/v2/info", json={"frameworkId": "F"})
    marathon.get(re.compile(".*/(files/read|state)"), status=404, body=body)
    with pytest.raises(NotFound, match="no file stdout"):
        use(lambda m: m.read_file(task(), "stdout", 0, 10))


def test_a_closed_client_raises_a_clear_error() -> None:
    async def late() -> None:
        marathon = Marathon(URL)
        await marathon.close()
        await marathon.info()

    with pytest.raises(MarathonSilent, match="stopping"):
        asyncio.run(late())
