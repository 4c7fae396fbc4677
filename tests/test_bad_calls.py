"""Bad calls, end to end on every launcher: a clear error, no effect on the function's other calls.

Bad files and bad dependencies are the business of test_bad_input.py and test_dependencies_live.py.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import live
from zips import zipped

MEGABYTES_50 = b'{"n": "' + b"x" * 50_000_000 + b'"}'
JSON = {"Content-Type": "application/json"}
# Each returns the pid of its process if it is called correctly.
PLAIN = "import os\ndef go(n: int = 0, names: list[str] = []): return os.getpid()\n"
EVENTS = {
    "plain": PLAIN,
    "event": "import os\ndef handler(event): return os.getpid()\n",
    "aws": "import os\ndef handler(event, context): return os.getpid()\n",
    "openwhisk": "import os\ndef main(args): return os.getpid()\n",
    "nuclio": "import os\ndef handler(context, event): return str(os.getpid())\n",
}


@pytest.fixture(scope="module", params=live.LAUNCHERS)
def fob(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[live.Dispatcher]:
    """One service per launcher for all tests here."""
    dispatcher = live.Dispatcher(tmp_path_factory.mktemp("home"), FOB_LAUNCHER=request.param)
    yield dispatcher
    dispatcher.stop()


class BothPaths:
    """Calls a function directly and through the dispatcher."""

    def __init__(self, fob: live.Dispatcher, source: str | bytes, query: str = "") -> None:
        self.id = fob.gen(source, query)
        host, port = fob.meta(self.id)
        self.urls = (f"http://{host}:{port}", f"{fob.url}/api/call/{self.id}")

    def post(self, body: bytes, path: str = "/") -> list[requests.Response]:
        return [
            requests.post(url + path, data=body, headers=JSON, timeout=live.PATIENCE_SECONDS)
            for url in self.urls
        ]

    def get(self, path: str = "/") -> list[requests.Response]:
        return [requests.get(url + path, timeout=live.PATIENCE_SECONDS) for url in self.urls]


def errors(answers: list[requests.Response], status: int) -> list[Any]:
    for answer in answers:
        assert answer.status_code == status, answer.text[:300]
        assert set(answer.json()["error"]) == {"code", "message", "details"}
    return [answer.json()["error"] for answer in answers]


@pytest.fixture(params=EVENTS)
def function(fob: live.Dispatcher, request: pytest.FixtureRequest) -> Iterator[BothPaths]:
    """A function of each convention, whose process must survive the test."""
    function = BothPaths(fob, EVENTS[request.param])
    before = [answer.text for answer in function.get()]
    yield function
    assert [answer.text for answer in function.get()] == before
    fob.ask("DELETE", f"/api/functions/{function.id}")


@pytest.mark.parametrize(
    "unit", [("[", "]"), ('{"n":', "}"), ("[", "")], ids=["list", "dict", "open"]
)
def test_json_nested_100000_deep_is_400(function: BothPaths, unit: tuple[str, str]) -> None:
    body = (unit[0] * 100_000 + "1" + unit[1] * 100_000).encode()
    for error in errors(function.post(body), 400):
        assert (error["code"], error["message"]) == ("bad_body", "the body is too deeply nested")


def test_an_argument_of_50_mb_is_413(function: BothPaths) -> None:
    for error in errors(function.post(MEGABYTES_50), 413):
        assert error["message"] == "the body is larger than 16777216 bytes"


@pytest.mark.parametrize("query", ["n=%ff", "%fe=1", "n=1&x=%c3%28"])
def test_a_query_that_is_not_utf_8_is_400(function: BothPaths, query: str) -> None:
    for error in errors(function.get(f"/?{query}"), 400):
        assert error["code"] == "bad_arguments"
        assert error["message"].endswith("is not UTF-8")


def test_a_path_that_is_not_utf_8_is_400_if_the_function_reads_it(fob: live.Dispatcher) -> None:
    function = BothPaths(fob, "def main(args): return {'path': args['__ow_path']}\n")
    assert "'/%FF' is not UTF-8" in errors(function.get("/%ff"), 400)[0]["message"]
    assert function.get("/%c3%a9")[1].json()["result"] == {"path": "/é"}


@pytest.mark.parametrize(
    ("query", "body", "faults"),
    [
        ("n=many&colour=red", None, ["n='many' is not int", "colour is not an argument"]),
        ("", {"n": [1], "names": [1]}, ["n=[1] is not int", "names[0]=1 is not str"]),
        ("", 5, ["the body must be a JSON object that names the arguments"]),
    ],
)
def test_wrong_and_surplus_arguments_are_all_named(
    fob: live.Dispatcher, query: str, body: Any, faults: list[str]
) -> None:
    function = BothPaths(fob, PLAIN)
    path = f"/?{query}"
    answers = function.get(path) if body is None else function.post(json.dumps(body).encode(), path)
    for error in errors(answers, 400):
        assert error["code"] == "bad_arguments"
        assert sorted(error["details"]["faults"]) == sorted(faults)
        assert error["details"]["signature"] == "go(n: int = 0, names: list[str] = [])"


def test_missing_arguments_are_all_named(fob: live.Dispatcher) -> None:
    function = BothPaths(fob, "def go(a, b, *, c): return 1\n")
    for error in errors(function.get("/?b=1"), 400):
        assert error["details"]["faults"] == ["a is missing", "c is missing"]


def test_a_handler_of_no_convention_is_refused_with_the_known_ones(
    fob: live.Dispatcher,
) -> None:
    function = BothPaths(fob, "def lambda_handler(a, b, c): return [a, b, c]\n")
    for error in errors(function.post(b"{}"), 400):
        assert "lambda_handler(a, b, c) is none of" in error["details"]["why"]
        assert "lambda_handler(event, context) of AWS Lambda" in error["details"]["why"]
    convention = fob.ask("GET", f"/api/functions/{function.id}").json()["convention"]
    assert convention["name"] == "plain"
    assert "lambda_handler(event, context) of AWS Lambda" in convention["why"]
    assert function.post(b'{"a": 1, "b": 2, "c": 3}')[1].json() == {"result": [1, 2, 3]}


NEVER = """
import asyncio
async def app(scope, receive, send):
    if scope["type"] == "lifespan": return
    if scope["path"] == "/never": await asyncio.sleep(1000)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def test_an_asgi_application_that_never_responds_is_504(fob: live.Dispatcher) -> None:
    function = BothPaths(fob, NEVER, "?timeout=0.3")
    for error in errors(function.get("/never"), 504):
        assert (error["code"], error["message"]) == (
            "timeout",
            "the call took longer than 0.3 seconds",
        )
    assert [answer.text for answer in function.get("/")] == ["ok", "ok"]


DEEP = "[" * 100_000
GO = "def go(): return 1\n"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (f"# /// script\n# dependencies = {'[' * 9000}{']' * 9000}\n# ///\n{GO}", "bad_metadata"),
        (f"# /// script\n# dependencies = {DEEP}\n# ///\n{GO}", "bad_metadata"),
        (f"# /// script\n# dependencies = ['a; {'(' * 5000}']\n# ///\n{GO}", "bad_metadata"),
        (zipped({"main.py": GO, "requirements.txt": "a; " + "(" * 50_000}), "bad_requirements"),
        (zipped({"main.py": GO, "other.py": f"x = {DEEP}"}), "syntax_error"),
        (f"x = {DEEP}\n{GO}", "syntax_error"),
    ],
    ids=["metadata", "deeper", "requirement", "requirements.txt", "zip", "file"],
)
def test_excessive_nesting_is_refused_at_registration(
    fob: live.Dispatcher, source: str | bytes, code: str
) -> None:
    answer = fob.ask("POST", "/api/gen", data=source)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert answer.json()["error"]["details"]["line"] >= 1
    assert len(answer.text) < 1000


def test_data_in_a_zip_may_be_nested_deeply(fob: live.Dispatcher) -> None:
    source = "def main(): return len(open('data.json').read())\n"
    function = BothPaths(fob, zipped({"main.py": source, "data.json": DEEP}))
    assert function.get()[0].json() == {"result": 100_000}


def test_an_option_that_is_not_utf_8_is_refused(fob: live.Dispatcher) -> None:
    for query in ("name=%ff", "env.A=%ff", "%ff=1"):
        answer = fob.ask("POST", f"/api/gen?{query}", data=GO)
        assert answer.status_code == 400
        assert "The query cannot be read" in answer.json()["error"]["message"]
