"""Annotations as a contract, from the file to the response, on a running service."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

import live

SHOP = '''
from __future__ import annotations

import dataclasses
import datetime
import enum
from decimal import Decimal
from typing import Annotated, Optional
from uuid import UUID


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass
class Item:
    """Something to buy."""

    name: str
    price: Decimal
    size: Size = Size.SMALL


@dataclasses.dataclass
class Receipt:
    at: datetime.datetime
    total: Decimal
    items: list[Item]
    customer: Optional[UUID] = None


def order(
    items: list[Item],
    at: Annotated[datetime.datetime, "when it is wanted"],
    customer: Optional[UUID] = None,
    times: int = 1,
    odd: Unheard = None,
) -> Receipt:
    """Order things.

    Args:
        items: what to order
        times: how often
    """
    return Receipt(at, sum((i.price for i in items), Decimal(0)) * times, items, customer)
'''
SIMPLE = "def add(a: int, b: list[float] = []):\n    return a + sum(b)\n"


@pytest.fixture(scope="module")
def dispatcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Dispatcher]:
    """One service for all tests here."""
    dispatcher = live.Dispatcher(tmp_path_factory.mktemp("home"))
    yield dispatcher
    dispatcher.stop()


@pytest.fixture
def shop(dispatcher: live.Dispatcher) -> Iterator[str]:
    id_ = dispatcher.gen(SHOP, "?name=shop")
    dispatcher.meta(id_)
    yield id_
    dispatcher.ask("DELETE", f"/api/functions/{id_}")


def get(dispatcher: live.Dispatcher, path: str) -> Any:
    answer = dispatcher.ask("GET", path)
    assert answer.status_code == 200, answer.text
    return answer.json()


def call(dispatcher: live.Dispatcher, id_: str, query: str, body: Any) -> requests.Response:
    content = body if isinstance(body, bytes) else json.dumps(body)
    return dispatcher.ask("POST", f"/api/call/{id_}?{query}", data=content)


AT = "at=2020-01-02T03:04:05Z"


def test_arguments_are_converted_and_results_are_written(
    dispatcher: live.Dispatcher, shop: str
) -> None:
    items = [{"name": "pen", "price": 1.10}, {"name": "ink", "price": "3.5", "size": "LARGE"}]
    answer = call(dispatcher, shop, f"{AT}&times=2", {"items": items})
    assert answer.json() == {
        "result": {
            "at": "2020-01-02T03:04:05+00:00",
            "total": "9.2",
            "items": [
                {"name": "pen", "price": "1.1", "size": "s"},
                {"name": "ink", "price": "3.5", "size": "l"},
            ],
            "customer": None,
        }
    }


def test_wrong_input_is_400_with_every_fault_and_the_signature(
    dispatcher: live.Dispatcher, shop: str
) -> None:
    items = [{"name": "pen", "price": "dear"}, {"nmae": "ink", "price": 1, "size": "xl"}]
    answer = call(dispatcher, shop, "times=many&colour=red", {"items": items, "customer": "me"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "bad_arguments"
    assert sorted(error["details"]["faults"]) == [
        "at is missing",
        "colour is not an argument",
        "customer='me' is not UUID",
        "items[0].price='dear' is not Decimal",
        "items[1].name is missing",
        "items[1].nmae is not a field of Item",
        "items[1].size='xl' is not one of 's', 'l'",
        "times='many' is not int",
    ]
    assert error["details"]["signature"].startswith("order(items: list[Item], at: Annotated[")


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b'{"items": ' + b"[" * 5000 + b"]" * 5000 + b"}", "", "nested"),
        (b'{"times": ' + b"9" * 5000 + b"}", "bad_body", "4300"),
        (b'{"times": NaN}', "bad_body", "NaN is not JSON"),
        (b'{"items": [{"name": "a", "name": "b"}]}', "bad_body", "an object has 'name' twice"),
        (b'{"items": "\xff"}', "bad_body", "utf-8"),
        (b'{"times": 1e999}', "bad_arguments", "times=inf is not int"),
    ],
    ids=["deep", "huge", "nan", "twice", "text", "infinite"],
)
def test_bad_json_is_400_and_affects_no_other_call(
    dispatcher: live.Dispatcher, shop: str, body: bytes, code: str, words: str
) -> None:
    answer = call(dispatcher, shop, AT, body)
    assert answer.status_code == 400
    assert code in ("", answer.json()["error"]["code"])
    assert words in answer.json()["error"]["message"]
    assert call(dispatcher, shop, AT, {"items": []}).json()["result"]["total"] == "0"


def test_a_query_that_is_not_utf_8_is_400(dispatcher: live.Dispatcher, shop: str) -> None:
    answer = call(dispatcher, shop, "at=%ff", {"items": []})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_arguments")


def test_a_query_may_contain_lists(dispatcher: live.Dispatcher) -> None:
    id_ = dispatcher.gen(SIMPLE)
    dispatcher.meta(id_)
    for query in ("a=1&b=2&b=3.5", "a=1&b=[2,3.5]"):
        assert dispatcher.ask("GET", f"/api/call/{id_}?{query}").json() == {"result": 6.5}
    assert dispatcher.ask("GET", f"/api/call/{id_}?a=1&b=2").json() == {"result": 3}


def test_each_function_has_an_openapi_document(dispatcher: live.Dispatcher, shop: str) -> None:
    document = get(dispatcher, f"/api/functions/{shop}/openapi.json")
    validate(document, cls=OpenAPIV31SpecValidator)
    host, port = dispatcher.meta(shop)
    urls = [server["url"] for server in document["servers"]]
    assert urls == [f"http://{host}:{port}", f"{dispatcher.url}/api/call/{shop}"]
    assert document["info"]["title"] == "shop"
    assert document["info"]["description"].startswith("Order things.")
    details = get(dispatcher, f"/api/functions/{shop}")
    assert document["info"]["version"] == details["sha256"][:12]
    assert document["components"]["schemas"]["Item"]["description"] == "Something to buy."


def test_responses_match_their_document(dispatcher: live.Dispatcher, shop: str) -> None:
    document = get(dispatcher, f"/api/functions/{shop}/openapi.json")
    post = document["paths"]["/"]["post"]
    components = {"components": document["components"]}
    answer = call(dispatcher, shop, AT, {"items": [{"name": "pen", "price": 1}]})
    content = post["responses"]["200"]["content"]["application/json"]
    Draft202012Validator(content["schema"] | components).validate(answer.json())
    refused = call(dispatcher, shop, "", {})
    content = post["responses"]["400"]["content"]["application/json"]
    Draft202012Validator(content["schema"] | components).validate(refused.json())


def test_each_function_has_a_json_schema(dispatcher: live.Dispatcher, shop: str) -> None:
    schema = get(dispatcher, f"/api/functions/{shop}/schema.json")
    Draft202012Validator.check_schema(schema)
    assert schema["properties"]["at"]["description"] == "when it is wanted"
    assert schema["properties"]["times"]["description"] == "how often"
    assert "cannot be resolved" in json.dumps(schema["properties"]["odd"])
    validator = Draft202012Validator(schema)
    good = {"items": [{"name": "a", "price": 1}], "at": "2020-01-02"}
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, "items": [{"name": "a"}]})


def test_an_unknown_function_has_no_description(dispatcher: live.Dispatcher) -> None:
    for kind in ("openapi", "schema"):
        path = f"/api/functions/11111111-86e3-4966-9060-cf01eef59426/{kind}.json"
        assert dispatcher.ask("GET", path).json()["error"]["code"] == "not_found"


def test_an_idle_function_says_so(dispatcher: live.Dispatcher) -> None:
    id_ = dispatcher.gen(SIMPLE, "?instances=0")
    answer = dispatcher.ask("GET", f"/api/functions/{id_}/openapi.json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")


def test_the_description_follows_a_change_of_name(dispatcher: live.Dispatcher) -> None:
    id_ = dispatcher.gen(SIMPLE, "?name=one")
    path = f"/api/functions/{id_}"
    assert get(dispatcher, path + "/schema.json")["title"] == "one"
    assert dispatcher.ask("PATCH", path, json={"name": "two"}).status_code == 200
    assert get(dispatcher, path + "/schema.json")["title"] == "two"


def fob(dispatcher: live.Dispatcher, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fob", *arguments],
        cwd=live.SERVICE,
        env=live.environment(dispatcher.home, FOB_URL=dispatcher.url),
        capture_output=True,
        text=True,
        timeout=live.PATIENCE_SECONDS,
    )


TOLD = """\
shop: order(items: list[Item], at: Annotated[datetime.datetime, 'when it is wanted'], \
customer: Optional[UUID] = None, times: int = 1, odd: Unheard = None)

Order things.

Args:
    items: what to order
    times: how often

arguments:
  items     array of Item, required              what to order
  at        string (date-time), required         when it is wanted
  customer  string (uuid) or null, default null
  times     integer, default 1                   how often
  odd       anything, default null               annotated Unheard, \
which cannot be resolved: any value is passed on

result: Receipt

Item:
  name   string, required
  price  string or number (decimal), required
  size   Size, default "s"

Size:
  one of "s", "l"

Receipt:
  at        string (date-time), required
  total     string or number (decimal), required
  items     array of Item, required
  customer  string (uuid) or null, default null
"""


def test_the_command_line_shows_it(dispatcher: live.Dispatcher, shop: str) -> None:
    for arguments in (("call", "--help", "shop"), ("call", shop[:8], "-h")):
        done = fob(dispatcher, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == TOLD
    done = fob(dispatcher, "call", "--help", shop, "--json")
    assert json.loads(done.stdout) == get(dispatcher, f"/api/functions/{shop}/openapi.json")


def test_help_without_an_id_is_about_the_command(dispatcher: live.Dispatcher) -> None:
    done = fob(dispatcher, "call", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: fob call")
    assert fob(dispatcher, "call").returncode == 2
    assert "ID" in fob(dispatcher, "call").stderr
    assert fob(dispatcher, "call", "--help", "nobody").returncode == 1


BROKEN = """
import inspect, os
inspect.signature = lambda function: 1 / 0
def f():
    return os.getpid()
"""


def test_a_function_that_cannot_be_described_can_still_be_called(
    dispatcher: live.Dispatcher,
) -> None:
    id_ = dispatcher.gen(BROKEN)
    dispatcher.meta(id_)
    before = dispatcher.ask("GET", f"/api/call/{id_}").json()
    answer = dispatcher.ask("GET", f"/api/functions/{id_}/openapi.json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "call_failed")
    assert "ZeroDivisionError: division by zero" in answer.json()["error"]["message"]
    assert dispatcher.ask("GET", f"/api/call/{id_}").json() == before
