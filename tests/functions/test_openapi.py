"""A function's OpenAPI document, from its runner's description."""

import dataclasses
import enum
from datetime import date
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from fob.functions import openapi
from fob.runner.features import annotations, schema

SHA256 = "ab" * 32
SERVERS = ["http://10.0.6.172:25974", "http://localhost:9999/api/call/0e38b688"]


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


@dataclasses.dataclass
class Item:
    name: str
    size: Size = Size.SMALL
    parent: "Item | None" = None


def described(function: Any, raw: str = "", **more: Any) -> dict[str, Any]:
    """Return the description that the runner gives of a plain function."""
    parameters, returns = schema.schemas(function, raw, annotations.Reader(globals()))
    return {
        "entry": function.__name__,
        "convention": "plain",
        "why": "its parameters are its arguments",
        "signature": "f(...)",
        "doc": function.__doc__,
        "parameters": parameters,
        "returns": returns,
    } | more


def document(function: Any, **more: Any) -> Any:
    """Return the document of a function, after validating it."""
    made = openapi.document("hello", SHA256, described(function, **more), SERVERS)
    validate(made, cls=OpenAPIV31SpecValidator)
    return made


def query_of(made: Any) -> dict[str, Any]:
    """Return the query parameters of GET by name; none if there is no GET."""
    calls = made["paths"]["/"]
    return {p["name"]: p for p in calls["get"]["parameters"]} if "get" in calls else {}


def body_of(made: Any) -> Any:
    return made["paths"]["/"]["post"]["requestBody"]


def resolved(made: Any, schema: Any) -> Draft202012Validator:
    """Return a validator for a schema of the document."""
    return Draft202012Validator(schema | {"components": made["components"]})


def test_it_names_the_function_and_its_urls() -> None:
    def function() -> None:
        """Do nothing."""

    made = document(function)
    assert made["info"] == {
        "title": "hello",
        "summary": "f(...)",
        "version": SHA256[:12],
        "description": "Do nothing.",
    }
    assert [server["url"] for server in made["servers"]] == SERVERS
    assert made["x-fob"]["why"] == "its parameters are its arguments"


def test_simple_arguments_go_into_a_query_or_a_body() -> None:
    none = None

    def function(
        a: int, b: str = "x", c: list[int] = none, d: Size = none, e: date = none, f=1
    ): ...

    made = document(function)
    query = query_of(made)
    assert {name: p["required"] for name, p in query.items()} == dict(
        zip("abcdef", [True, False, False, False, False, False], strict=True)
    )
    assert query["b"]["schema"] == {"type": "string", "default": "x"}
    validator = resolved(made, body_of(made)["content"]["application/json"]["schema"])
    assert validator.is_valid({"a": 1, "d": "s"})
    assert not validator.is_valid({"a": 1, "d": "m"})
    assert body_of(made)["required"] is True


@pytest.mark.parametrize("annotation", [Item, list[Item], dict, list[list[int]], dict | None])
def test_objects_go_into_a_body_only(annotation: Any) -> None:
    def function(a, b: int): ...

    function.__annotations__["a"] = annotation
    made = document(function)
    assert list(made["paths"]["/"]) == ["post"]


def test_classes_are_components() -> None:
    def function(a: Item) -> Item: ...

    made = document(function)
    assert sorted(made["components"]["schemas"]) == ["Error", "Item", "Size"]
    schema = body_of(made)["content"]["application/json"]["schema"]
    validator = resolved(made, schema)
    assert validator.is_valid({"a": {"name": "x", "parent": {"name": "y", "size": "l"}}})
    assert not validator.is_valid({"a": {"name": "x", "parent": {"name": "y", "size": "m"}}})


def test_classes_that_differ_between_argument_and_result_are_two() -> None:
    def function(a: Item) -> Item: ...

    about = described(function)
    about["returns"]["$defs"]["Size"] = {"enum": ["small", "large"]}
    made = openapi.document("x", SHA256, about, SERVERS)
    validate(made, cls=OpenAPIV31SpecValidator)
    answer = made["paths"]["/"]["post"]["responses"]["200"]["content"]["application/json"]
    result = answer["schema"]["properties"]["result"]
    assert resolved(made, result).is_valid({"name": "x", "size": "small"})
    assert not resolved(made, result).is_valid({"name": "x", "size": "s"})


def test_the_result_has_its_schema() -> None:
    def function() -> list[int]: ...

    answers = document(function)["paths"]["/"]["get"]["responses"]
    validator = Draft202012Validator(answers["200"]["content"]["application/json"]["schema"])
    assert validator.is_valid({"result": [1], "output": "hello\n"})
    assert not validator.is_valid({"result": ["1"]})


def test_errors_have_one_shape() -> None:
    made = document(lambda: None)
    answers = made["paths"]["/"]["get"]["responses"]
    assert sorted(answers) == ["200", "400", "500", "default"]
    error = {"error": {"code": "bad_arguments", "message": "a is missing", "details": None}}
    assert resolved(made, made["components"]["schemas"]["Error"]).is_valid(error)


def test_bytes_are_the_body_itself() -> None:
    def only(data: bytes) -> bytes: ...
    def beside(data: bytes, n: int): ...

    made = document(only, raw="data")
    assert list(made["paths"]["/"]) == ["post"]
    assert list(body_of(made)["content"]) == ["application/octet-stream"]
    answer = made["paths"]["/"]["post"]["responses"]["200"]
    assert list(answer["content"]) == ["application/octet-stream"]
    made = document(beside, raw="data")
    assert list(body_of(made)["content"]) == ["application/octet-stream", "application/json"]
    assert [p["name"] for p in made["paths"]["/"]["post"]["parameters"]] == ["n"]


@pytest.mark.parametrize("convention", ["aws", "asgi", "google"])
def test_a_function_of_another_convention_accepts_and_returns_anything(convention: str) -> None:
    made = document(lambda event: None, convention=convention, parameters={}, returns=None)
    assert list(made["paths"]["/"]) == ["get", "post"]
    assert body_of(made)["content"] == {"*/*": {}}


def test_a_script_has_no_parameters() -> None:
    made = document(lambda: None, convention="script", doc=None)
    assert "description" not in made["info"]
    assert query_of(made) == {}
    assert body_of(made)["required"] is False
