"""The examples, registered with a dispatcher and run by the engine, on every launcher."""

import tempfile
from pathlib import Path

import pytest
import requests
from running import Runner
from test_functions_doc import CHECKS, EXAMPLES, ROWS

import live

# those with packages are the business of the tests of environments; asgi.py's check ends the runner
ALONE = [
    (convention, file)
    for _, convention, file in ROWS
    if "/// script" not in (EXAMPLES / file).read_text() and file != "asgi.py"
]


class Registered(Runner):
    """A function on the engine, as the checks of the examples see it."""

    def __init__(self, dispatcher: live.Dispatcher, id_: str) -> None:
        self.dispatcher, self.id = dispatcher, id_
        self.port = dispatcher.meta(id_)[1]
        self.folder = Path(tempfile.gettempdir())

    def log(self, stream: str) -> str:
        answer = self.dispatcher.ask("GET", f"/api/functions/{self.id}/logs?stream={stream}")
        return answer.text

    @property
    def stdout(self) -> str:
        return self.log("stdout")

    @property
    def stderr(self) -> str:
        return self.log("stderr")


def test_every_example_runs_and_its_details_tell_the_convention(
    dispatcher: live.Dispatcher,
) -> None:
    for convention, file in ALONE:
        id_ = dispatcher.gen((EXAMPLES / file).read_bytes())
        CHECKS[file](Registered(dispatcher, id_))
        told = dispatcher.ask("GET", f"/api/functions/{id_}").json()["convention"]
        assert told["name"] == convention
        assert told["why"] in Registered(dispatcher, id_).stderr
        dispatcher.ask("DELETE", f"/api/functions/{id_}")


def test_an_application_is_called_through_the_dispatcher_with_its_path(
    dispatcher: live.Dispatcher,
) -> None:
    id_ = dispatcher.gen((EXAMPLES / "asgi.py").read_bytes())
    answer = dispatcher.ask("POST", f"/api/call/{id_}/a%20b", data=b"hello")
    assert (answer.status_code, answer.text) == (200, "HELLO")
    assert answer.headers["X-Path"] == "/a b"


def test_cors_is_a_setting_of_each_function(dispatcher: live.Dispatcher) -> None:
    id_ = dispatcher.gen("def go(): return 1", "?cors=https://a.example")
    page = {"Origin": "https://b.example"}
    assert "Access-Control-Allow-Origin" not in dispatcher.call(id_, headers=page).headers
    changed = dispatcher.ask("PATCH", f"/api/functions/{id_}", json={"cors": "*"})
    assert changed.json()["settings"]["cors"] == "*"

    def allowed() -> str | None:
        try:
            answer = dispatcher.call(id_, headers=page)
        except requests.ConnectionError:  # the instance is being replaced
            return None
        return answer.headers.get("Access-Control-Allow-Origin")

    assert live.until(allowed) == "*"


@pytest.mark.parametrize("entry", ["Class.method", "main:Class.method"])
def test_the_entry_may_be_a_path(dispatcher: live.Dispatcher, entry: str) -> None:
    source = "class Class:\n    def method(self, event): return event\ndef other(): pass"
    id_ = dispatcher.gen(source, f"?entry={entry}")
    assert dispatcher.call(id_, json={"a": 1}).json() == {"result": {"a": 1}}
