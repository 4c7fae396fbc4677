"""Functions describe themselves in JSON Schema."""

import dataclasses
import datetime
import decimal
import enum
import typing
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import pydantic
import pytest
from annotated import Colour, described
from jsonschema import Draft202012Validator


@dataclasses.dataclass
class Node:
    """A node of a chain."""

    value: int
    next: "Node | None" = None


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Shape(TypedDict):
    corners: list[Point]
    name: NotRequired[str]


class Order(pydantic.BaseModel):
    count: int = pydantic.Field(gt=0)
    colour: Colour = Colour.RED


def properties(function: Any, **names: Any) -> Any:
    return described(function, **names)[0]["properties"]


def schema_of(annotation: Any, **names: Any) -> Any:
    """The schema of a result with this annotation, without its definitions."""

    def function() -> None: ...

    function.__annotations__ = {"return": annotation}
    schema = described(function, **names)[1]
    Draft202012Validator.check_schema(schema)
    return {k: v for k, v in schema.items() if k not in ("$schema", "$defs")}


def test_arguments_are_an_object() -> None:
    def function(a: int, b: str = "x", *args: int, c: bool = False, d: Any, **rest: int): ...

    arguments, result = described(function)
    assert arguments == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "string", "default": "x"},
            "c": {"type": "boolean", "default": False},
            "d": {},
        },
        "required": ["a", "d"],
        "additionalProperties": True,
    }
    assert result is None


def test_a_function_without_named_parameters_accepts_no_names() -> None:
    arguments, result = described(lambda: None)
    assert arguments["properties"] == {}
    assert arguments["additionalProperties"] is False
    assert result is None


def test_a_callable_without_a_signature_accepts_anything() -> None:
    assert described(dict.fromkeys.__self__)[0]["type"] == "object"


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (None, {"type": "null"}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (decimal.Decimal, {"type": ["string", "number"], "format": "decimal"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
            },
        ),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (dict[int, Any], {"type": "object", "additionalProperties": {}}),
        (
            dict[Literal["a"], Any],
            {"type": "object", "additionalProperties": {}, "propertyNames": {"enum": ["a"]}},
        ),
        (
            dict[Colour, Any],
            {
                "type": "object",
                "additionalProperties": {},
                "propertyNames": {"enum": ["red", "2", "RED", "BLUE"]},
            },
        ),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Annotated[int, "years"], {"type": "integer", "description": "years"}),
        (typing.TypeVar("T"), {}),
        (object, {}),
        (Node, {"$ref": "#/$defs/Node"}),
    ],
    ids=repr,
)
def test_each_type_has_its_schema(annotation: Any, schema: Any) -> None:
    assert schema_of(annotation) == schema


def test_classes_are_defined_once_and_may_contain_themselves() -> None:
    def function(a: Node, b: list[Node]): ...

    schema, _ = described(function)
    assert schema["properties"]["a"] == schema["properties"]["b"]["items"]
    node = schema["$defs"]["Node"]
    assert node["description"] == "A node of a chain."
    assert node["properties"]["next"]["anyOf"][0] == {"$ref": "#/$defs/Node"}
    assert (node["required"], node["additionalProperties"]) == (["value"], False)
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"a": {"value": 1, "next": {"value": 2}}, "b": []})
    assert not validator.is_valid({"a": {"value": 1, "next": {"value": "2"}}, "b": []})


def test_two_classes_with_one_name_have_two_definitions() -> None:
    other = dataclasses.make_dataclass("Node", [("name", str)])

    def function(a, b): ...

    function.__annotations__ = {"a": Node, "b": other}
    schema, _ = described(function)
    assert len(schema["$defs"]) == 2
    Draft202012Validator(schema).validate({"a": {"value": 1}, "b": {"name": "x"}})


def test_a_name_that_contains_itself_is_defined() -> None:
    names: dict[str, Any] = {}
    names["Tree"] = typing.Union[int, list["Tree"]]  # type: ignore[valid-type] # noqa: F821, UP007

    def function(x: "Tree", y: "Tree"): ...  # type: ignore[valid-type] # noqa: F821

    schema, _ = described(function, **names)
    assert list(schema["$defs"]) == ["Tree"]
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"x": [1, [2, []]], "y": 3})
    assert not validator.is_valid({"x": [1, ["a"]], "y": 3})


def test_a_name_that_does_not_contain_itself_is_written_in_place() -> None:
    assert schema_of("list[Point]", Point=Point)["type"] == "array"
    assert schema_of("Node", Node=Node) == {"$ref": "#/$defs/Node"}


def test_named_tuples_are_arrays_and_typed_dicts_are_objects() -> None:
    def function(shape: Shape): ...

    schema, _ = described(function)
    point, shape = schema["$defs"]["Point"], schema["$defs"]["Shape"]
    assert [item["title"] for item in point["prefixItems"]] == ["x", "y"]
    assert (point["minItems"], point["maxItems"]) == (1, 2)
    assert shape["required"] == ["corners"]


def test_an_enum_is_described_by_its_values_or_else_its_names() -> None:
    class Odd(enum.Enum):
        ONE = object()
        TWO = (1, 2)

    def function(a: Colour, b: Odd, c: Colour = Colour.BLUE): ...

    schema, _ = described(function)
    assert schema["$defs"]["Colour"]["enum"] == ["red", 2]
    assert schema["$defs"]["Odd"]["enum"] == ["ONE", "TWO"]
    assert schema["properties"]["c"] == {"$ref": "#/$defs/Colour", "default": 2}


def test_pydantic_describes_its_models() -> None:
    def function(orders: list[Order], n: Annotated[int, pydantic.Field(gt=2)]) -> Order: ...

    schema, result = described(function)
    assert schema["properties"]["n"] == {"type": "integer", "exclusiveMinimum": 2}
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"orders": [{"count": 1}], "n": 3})
    assert not validator.is_valid({"orders": [{"count": 0}], "n": 3})
    assert Draft202012Validator(result).is_valid({"count": 1, "colour": "red"})


def test_defaults_are_shown_where_json_can() -> None:
    def function(a, b, c, d, e, f): ...

    date = datetime.date(2020, 1, 2)
    function.__defaults__ = (Colour.RED, date, Node(1), object(), float("nan"), {1})
    assert properties(function) == {
        "a": {"default": "red"},
        "b": {"default": "2020-01-02"},
        "c": {"default": {"value": 1, "next": None}},
        "d": {}, "e": {}, "f": {},
    }  # fmt: skip


def test_a_none_by_default_may_be_given() -> None:
    def function(a: int = None): ...  # type: ignore[assignment] # noqa: RUF013

    assert properties(function)["a"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "default": None,
    }


def test_an_annotation_that_cannot_be_resolved_says_so() -> None:
    def function(a: "Nowhere"): ...  # type: ignore[name-defined] # noqa: F821

    assert "Nowhere, which cannot be resolved" in properties(function)["a"]["description"]


GOOGLE = """Add.

    Longer words: with a colon.

    Args:
        a (int): the first,
            told at length
        *b: the second: really
        c:
            the third

    Returns:
        x: the sum
    """
NUMPY = """Add.

    Parameters
    ----------
    a : int
        the first,
        told at length
    *b : list of int, optional
        the second: really
    c
        the third

    Returns
    -------
    x : int
        the sum
    """
SPHINX = """Add.

    :param a: the first,
        told at length
    :param list of int b: the second: really
    :type b: list
    :param c: the third
    :returns: the sum
    """


@pytest.mark.parametrize("doc", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_docstrings_describe_arguments(doc: str) -> None:
    def function(a, b, c: Annotated[int, "nearer"], x=1): ...

    function.__doc__ = doc
    told = {name: schema.get("description") for name, schema in properties(function).items()}
    assert told == {
        "a": "the first, told at length",
        "b": "the second: really",
        "c": "nearer",
        "x": None,
    }


@pytest.mark.parametrize(
    "doc", ["", "Args:", "Parameters\n---", ":param", "Args:\n\n\n  x", "a\n:"]
)
def test_odd_docstrings_do_no_harm(doc: str) -> None:
    def function(x): ...

    function.__doc__ = doc
    assert properties(function) == {"x": {}}
