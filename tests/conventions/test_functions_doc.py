"""Every row of docs/functions.md is true: its example is recognised, called, and responds."""

import gzip
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import live
from fob.source import parsing
from running import Answer, Runner

EXAMPLES = live.ROOT / "examples"
ROWS = re.findall(
    r"^\| ([^|]*) \| `([a-z-]+)` \| (?:[^|]*) \| \[examples/([\w.]+)\]",
    (live.ROOT / "docs" / "functions.md").read_text(),
    re.MULTILINE,
)
Check = Callable[[Runner], None]
CHECKS: dict[str, Check] = {}


def example(name: str) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return add


def same_headers(answer: Answer, **wanted: str) -> None:
    found: Mapping[str, str] = {name.lower(): value for name, value in answer.headers.items()}
    for name, value in wanted.items():
        assert found.get(name.replace("_", "-").lower()) == value, answer.headers


@example("plain.py")
def _(runner: Runner) -> None:
    assert runner.call("/?name=you&times=2").result == ["Hello you!", "Hello you!"]


@example("pydantic_models.py")
def _(runner: Runner) -> None:
    items = [{"name": "pen", "price": 1.5}, {"name": "ink", "price": 2}]
    assert runner.call("/?times=2", {"items": items}).result == {
        "names": ["pen", "ink"],
        "total": 7.0,
    }
    refused = runner.call("/", {"items": [{"name": "pen", "price": -1}], "colour": "red"})
    assert (refused.status, refused.error["code"]) == (400, "bad_arguments")
    assert sorted(refused.error["details"]["faults"]) == [
        "colour is not an argument",
        "items[0].price: Input should be greater than 0",
    ]


@example("script.py")
def _(runner: Runner) -> None:
    assert runner.call().json == {"result": None, "output": "Hello from a script\n"}


@example("coroutine.py")
def _(runner: Runner) -> None:
    assert runner.call("/?seconds=0.001").result == "slept 0.001 s"


@example("generator.py")
def _(runner: Runner) -> None:
    answer = runner.call("/?up_to=3")
    same_headers(answer, Content_Type="application/x-ndjson", Transfer_Encoding="chunked")
    assert [json.loads(line)["square"] for line in answer.body.splitlines()] == [0, 1, 4]


@example("async_generator.py")
def _(runner: Runner) -> None:
    answer = runner.call("/?up_to=3")
    same_headers(answer, Content_Type="text/plain; charset=utf-8", Transfer_Encoding="chunked")
    assert answer.body == b"0\n1\n2\n"


@example("callable_class.py")
def _(runner: Runner) -> None:
    assert runner.call("/?word=a").result == ["a"]
    assert runner.call("/?word=b").result == ["a", "b"]


@example("binary.py")
def _(runner: Runner) -> None:
    data = bytes(range(256)) * 100
    answer = runner.call("/", data, Content_Type="image/png")
    same_headers(answer, Content_Type="application/octet-stream")
    assert gzip.decompress(answer.body) == data


@example("response.py")
def _(runner: Runner) -> None:
    answer = runner.call("/?name=you")
    assert (answer.status, answer.body) == (201, b"<h1>Hello you</h1>")
    same_headers(answer, Content_Type="text/html; charset=utf-8")


@example("aws_lambda.py")
def _(runner: Runner) -> None:
    answer = runner.call("/", {"numbers": [1, 2, 3]})
    assert answer.result == {"sum": 6}
    assert re.fullmatch(r"lambda_handler has [1-9]\d* ms\n", answer.json["output"])


@example("aws_http.py")
def _(runner: Runner) -> None:
    with runner.connect() as sock:
        target = f"{runner.prefix}/a%20b?name=you".encode()
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % target)
        head, _, body = sock.makefile("rb").read().partition(b"\r\n\r\n")
    assert json.loads(body) == {"hello": "you"}
    assert b"X-Method: GET" in head
    assert head.count(b"Set-Cookie: ") == 2
    assert b"Set-Cookie: path=/a b" in head


@example("aws_rest.py")
def _(runner: Runner) -> None:
    answer = runner.call("/a/b?name=you&name=me")
    assert answer.body == b"GET /a/b you\nGET /a/b me\n"
    same_headers(answer, Content_Type="image/x-text", X_Host="lambda_handler")


@example("sebs.py")
def _(runner: Runner) -> None:
    answer = runner.call("/", {"bucket": "b", "text": "three little words"})
    assert answer.result == {"result": {"words": 3}, "measurement": {"size": 18}}


@example("sebs_nosql.py")
def _(runner: Runner) -> None:
    assert runner.call("/", {"cart": "1", "add": {"b": 2, "a/../": 1}}).result == {
        "result": ["a/../", "b"],
        "total": 3,
    }
    assert runner.call("/", {"cart": "2", "add": {}}).result == {"result": [], "total": 0}


@example("openlambda.py")
def _(runner: Runner) -> None:
    assert runner.call("/", [1, {"a": 2}]).result == {"echo": [1, {"a": 2}]}
    assert runner.call("/?a=1").result == {"echo": {"a": "1"}}


@example("openwhisk.py")
def _(runner: Runner) -> None:
    assert runner.call("/", {"name": "you"}).result == {"greeting": "Hello you"}
    page = runner.call("/?name=you")
    assert (page.status, page.body) == (200, b"<p>Hello you</p>")
    same_headers(page, Content_Type="text/html")


@example("openfaas.py")
def _(runner: Runner) -> None:
    answer = runner.call("/a/b", b"12345", "PUT")
    assert answer.status == 202
    assert answer.json == {"method": "PUT", "path": "/a/b", "length": 5}


@example("openfaas_classic.py")
def _(runner: Runner) -> None:
    assert runner.call("/", "grüße".encode()).body == "GRÜSSE".encode()


@example("nuclio.py")
def _(runner: Runner) -> None:
    answer = runner.call("/here", {"name": "you"})
    assert (answer.status, answer.body) == (201, b"Hello you")
    same_headers(answer, X_Path="/here")
    live.until(lambda: "INFO called path='/here'" in runner.stderr)


@example("google_http.py")
def _(runner: Runner) -> None:
    answer = runner.call("/a/b?name=you")
    assert (answer.status, answer.json) == (203, {"hello": "you", "path": "/a/b"})


@example("google_flask.py")
def _(runner: Runner) -> None:
    assert runner.call("/", {"name": "you"}).body == b"Hello you"
    assert runner.call("/").status == 405


@example("google_cloudevent.py")
def _(runner: Runner) -> None:
    event = {"Ce_Id": "1", "Ce_Source": "here", "Ce_Type": "t", "Ce_Specversion": "1.0"}
    answer = runner.call("/", {"n": 1}, **event)
    assert (answer.status, answer.body) == (200, b"OK")
    live.until(lambda: runner.stdout == "t of here: {'n': 1}\n")
    assert runner.call("/", {"n": 1}).error["code"] == "bad_body"


@example("asgi.py")
def _(runner: Runner) -> None:
    answer = runner.call("/a%20b", b"hello")
    assert (answer.status, answer.body) == (200, b"HELLO")
    same_headers(answer, Content_Type="text/plain", X_Path="/a b")
    assert runner.terminate() == 0
    live.until(lambda: runner.stdout == "good bye\n")


@example("wsgi.py")
def _(runner: Runner) -> None:
    answer = runner.call("/a", b"hello", "PUT")
    assert (answer.status, answer.body) == (200, b"PUT HELLO")
    same_headers(answer, X_Path="/a", Transfer_Encoding="chunked")


@example("flask_app.py")
def _(runner: Runner) -> None:
    assert runner.call("/hello/you?loud").json == {"hello": "you", "loud": True}
    answer = runner.call("/upper", b"abc")
    assert (answer.status, answer.body) == (201, b"ABC")
    assert runner.call("/none").status == 404


@example("fastapi_app.py")
def _(runner: Runner) -> None:
    assert runner.call("/hello/you?times=2").json == {"greeting": "Hello you! Hello you! "}
    assert runner.call("/hello/you?times=x").status == 422
    answer = runner.call("/count")
    assert answer.body == b"0\n1\n2\n"
    same_headers(answer, Transfer_Encoding="chunked")


@example("functionbench_chameleon.py")
def _(runner: Runner) -> None:
    result = runner.call("/", {"rows": 50, "columns": 10}).result
    assert result["data"].count("<tr>") == 50
    assert result["data"].count("<td>") == 500


@example("functionbench_pyaes.py")
def _(runner: Runner) -> None:
    assert runner.call("/", {"length": 100, "iterations": 2}).result["same"] is True


@example("functionbench_matmul.py")
def _(runner: Runner) -> None:
    assert runner.call("/", {"n": 20}).result["trace"] == sum(21 * i for i in range(20))


@example("functionbench_linpack.py")
def _(runner: Runner) -> None:
    assert runner.call("/", {"n": 30}).result["right"] is True


@example("functionbench_stdout.py")
def _(runner: Runner) -> None:
    answer = runner.call("/", {"lines": 50_000})
    assert answer.result["lines"] == 50_000
    assert answer.json["output"].startswith("000000 xxx")
    assert answer.json["output_truncated"] is True
    assert runner.call("/", {"lines": 2}).json["output"].count("x" * 57 + "\n") == 2


def test_every_example_has_a_row_and_every_row_a_check() -> None:
    files = {file.name for file in EXAMPLES.glob("*.py")}
    assert {file for _, _, file in ROWS} == files == set(CHECKS)


@pytest.mark.parametrize(("title", "convention", "file"), ROWS, ids=[row[2] for row in ROWS])
def test_the_row_is_true(
    serve: Callable[..., Runner], title: str, convention: str, file: str
) -> None:
    runner = serve(EXAMPLES / file)
    told: Any = runner.call("*", method="OPTIONS").json
    assert told["convention"] == convention, told["why"]
    live.until(lambda: f"({convention}: {told['why']})" in runner.stderr, "the line")
    CHECKS[file](runner)


@pytest.mark.parametrize(("title", "convention", "file"), ROWS, ids=[row[2] for row in ROWS])
def test_the_dispatcher_sees_the_same_without_running_it(
    title: str, convention: str, file: str
) -> None:
    found = parsing.check((EXAMPLES / file).read_bytes()).convention
    assert found.name == convention, found.why
    if convention == "plain":
        assert found.why == "its parameters are its arguments"
