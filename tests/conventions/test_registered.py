"""The examples as users run them: registered, called directly and through the dispatcher.

On every launcher there is. What they need is installed once, for both.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from test_functions_doc import CHECKS, EXAMPLES, ROWS

import live
from indexes import skip_if_unreachable
from running import Runner

BUILD_SECONDS = 300.0


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all tests here: a set of packages is installed once."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session", params=live.LAUNCHERS)
def aviary(request: pytest.FixtureRequest, home: Path) -> Iterator[live.Dispatcher]:
    """A service on the embedded engine, one for each launcher."""
    dispatcher = live.Dispatcher(home, FOB_LAUNCHER=request.param)
    first = dispatcher.gen("def first(): pass")
    dispatcher.meta(first)
    if request.param == "zygote":
        live.until(lambda: "zygote is ready" in dispatcher.engine_log)
    dispatcher.ask("DELETE", f"/api/functions/{first}")
    yield dispatcher
    dispatcher.stop()


class Registered(Runner):
    """A function on the engine, called directly; it has what the examples' checks need."""

    def __init__(self, dispatcher: live.Dispatcher, source: bytes, query: str = "") -> None:
        self.dispatcher = dispatcher
        self.id = dispatcher.gen(source, query)
        instance = live.until(self._instance, "an instance", BUILD_SECONDS)
        self.port = int(instance["port"])
        app, _, number = instance["task"].rpartition(".")
        self.folder = dispatcher.home / "engine" / "tasks" / app / number

    def _instance(self) -> Any:
        details = self.details()
        if details["state"] == "failed":
            skip_if_unreachable(str(details["failures"]))
            raise AssertionError(details["failures"])
        return next((one for one in details["instances"] if one["ready"]), None)

    def details(self) -> Any:
        return self.dispatcher.ask("GET", f"/api/functions/{self.id}").json()

    def terminate(self) -> int:
        """Scale it to zero; return the exit code of an instance that stopped cleanly."""
        path = f"/api/functions/{self.id}"
        assert self.dispatcher.ask("PATCH", path, json={"instances": 0}).ok
        live.until(lambda: not self.details()["instances"], "its end")
        return len(self.details()["failures"])

    def remove(self) -> None:
        assert self.dispatcher.ask("DELETE", f"/api/functions/{self.id}").ok

    @property
    def stdout(self) -> str:
        return self._printed("stdout")

    @property
    def stderr(self) -> str:
        return self._printed("stderr")

    def _printed(self, stream: str) -> str:
        path = self.folder / stream
        return path.read_text() if path.exists() else ""


class Routed(Registered):
    """A function on the engine, called through the dispatcher."""

    def __init__(self, dispatcher: live.Dispatcher, source: bytes, query: str = "") -> None:
        super().__init__(dispatcher, source, query)
        self.port = int(dispatcher.url.rpartition(":")[2])
        self.prefix = f"/api/call/{self.id}"


@pytest.mark.parametrize("way", [Registered, Routed])
@pytest.mark.parametrize(("title", "convention", "file"), ROWS, ids=[row[2] for row in ROWS])
def test_the_row_is_true_of_a_registered_function(
    aviary: live.Dispatcher, title: str, convention: str, file: str, way: type[Registered]
) -> None:
    function = way(aviary, (EXAMPLES / file).read_bytes())
    told = function.details()["convention"]
    assert told["name"] == convention
    live.until(lambda: told["why"] in function.stderr, "its first line of log")
    CHECKS[file](function)
    function.remove()


def test_a_file_with_numpy_registered_twice_builds_once(aviary: live.Dispatcher) -> None:
    source = (EXAMPLES / "functionbench_matmul.py").read_bytes()
    twice = [Registered(aviary, source + comment) for comment in (b"", b"# another file\n")]
    for function in twice:
        CHECKS["functionbench_matmul.py"](function)
        function.remove()
    # not by the row of the example either, nor by the other launcher's engine
    assert len(re.findall(r"Building environment \w+: numpy ", aviary.engine_log)) == 1


def test_an_application_is_called_through_the_dispatcher_with_its_path(
    aviary: live.Dispatcher,
) -> None:
    id_ = aviary.gen((EXAMPLES / "asgi.py").read_bytes())
    answer = aviary.ask("POST", f"/api/call/{id_}/a%20b", data=b"hello")
    assert (answer.status_code, answer.text) == (200, "HELLO")
    assert answer.headers["X-Path"] == "/a b"
    aviary.ask("DELETE", f"/api/functions/{id_}")


@pytest.mark.parametrize("way", [Registered, Routed])
def test_an_application_may_begin_its_response_before_it_has_read_the_body(
    aviary: live.Dispatcher, way: type[Registered]
) -> None:
    function = way(aviary, (EXAMPLES / "wsgi.py").read_bytes())
    answer = function.call("/", b"x" * 5_000_000, "PUT")
    assert (answer.status, len(answer.body)) == (200, 5_000_004)
    function.remove()


def test_the_context_of_aws_has_the_functions_own_settings(aviary: live.Dispatcher) -> None:
    source = (
        b"def lambda_handler(event, context):\n"
        b"    return [context.function_name, context.memory_limit_in_mb, context.log_stream_name,\n"
        b"            context.get_remaining_time_in_millis() <= 5000]"
    )
    function = Registered(aviary, source, "?name=shop&mem=100&timeout=5")
    task = function.details()["instances"][0]["task"]
    assert function.call("/", {}).result == ["shop", "100", task, True]
    function.remove()


def test_cors_is_a_setting_of_each_function(aviary: live.Dispatcher) -> None:
    function = Registered(aviary, b"def go(): return 1", "?cors=https://a.example")
    page = {"Origin": "https://b.example"}
    assert "Access-Control-Allow-Origin" not in function.call("/", **page).headers
    changed = aviary.ask("PATCH", f"/api/functions/{function.id}", json={"cors": "*"})
    assert changed.json()["settings"]["cors"] == "*"

    def allowed() -> str | None:
        try:
            answer = aviary.call(function.id, headers=page)
        except requests.ConnectionError:  # the instance is being replaced
            return None
        return answer.headers.get("Access-Control-Allow-Origin")

    assert live.until(allowed) == "*"
    function.remove()


@pytest.mark.parametrize("entry", ["Class.method", "main:Class.method"])
def test_the_entry_may_be_a_path(aviary: live.Dispatcher, entry: str) -> None:
    source = b"class Class:\n    def method(self, event): return event\ndef other(): pass"
    function = Registered(aviary, source, f"?entry={entry}")
    assert function.call("/", {"a": 1}).result == {"a": 1}
    function.remove()
