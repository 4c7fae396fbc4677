"""Annotations convert and check arguments."""

# ruff: noqa: UP006, UP007, UP045 - what older code has is tested too

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import json
import typing
import uuid
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict

import pydantic
import pytest
from annotated import JSON, PAIRS, QUICK, Colour, convert, described, faults
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fob.runner.features import converters, shapes


@dataclasses.dataclass
class Item:
    name: str
    price: float
    parent: "Item | None" = None
    tags: list[str] = dataclasses.field(default_factory=list)


class Point(NamedTuple):
    x: int
    y: int = 0


class Options(TypedDict, total=False):
    depth: typing.Required[int]
    note: str


class Order(pydantic.BaseModel):
    count: int
    at: datetime.date | None = None


# What holds for all types


@given(st.data())
@QUICK
def test_an_encoded_result_converts_back_to_the_same_argument(data: st.DataObject) -> None:
    annotation, of = data.draw(PAIRS)
    value = data.draw(of)
    written = json.loads(json.dumps(value, default=converters.encode, allow_nan=False))
    assert convert(annotation, written) == value


@given(st.data())
@QUICK
def test_the_schema_accepts_what_the_type_accepts(data: st.DataObject) -> None:
    annotation, of = data.draw(PAIRS)

    def function(x: Any) -> Any: ...

    function.__annotations__ = {"x": annotation, "return": annotation}
    written = json.loads(json.dumps(data.draw(of), default=converters.encode, allow_nan=False))
    arguments, result = described(function)
    Draft202012Validator.check_schema(arguments)
    Draft202012Validator(arguments).validate({"x": written})
    Draft202012Validator(result).validate(written)


@given(st.data())
@QUICK
def test_any_json_is_accepted_or_rejected_with_faults_that_name_the_argument(
    data: st.DataObject,
) -> None:
    annotation, _ = data.draw(PAIRS)
    told = ["x"]
    try:
        convert(annotation, data.draw(JSON))
    except shapes.Unfit as unfit:
        told = unfit.faults
    assert told
    assert all(fault.startswith("x") for fault in told)


NEW_YEAR = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
SIMPLE: list[Any] = [
    int, float, bool, str, None, list[int], dict[str, float], int | str | None, Colour,
    tuple[int, str], list[dict[str, bool]], Optional[list[str]], Literal["red", 1, True], Options,
    Item, Point, set[int], dict[Colour, int],
]  # fmt: skip


@given(st.sampled_from(SIMPLE), JSON)
@QUICK
def test_the_type_accepts_what_the_schema_accepts(annotation: Any, value: Any) -> None:
    def function(x: Any) -> None: ...

    function.__annotations__ = {"x": annotation}
    if Draft202012Validator(described(function)[0]).is_valid({"x": value}):
        convert(annotation, value)


# One type at a time


@pytest.mark.parametrize(
    ("annotation", "given", "converted"),
    [
        (int, "3", 3),
        (list[int], ["1", 2, 3.0], [1, 2, 3]),
        (typing.List[int], ["1"], [1]),
        (list, [1, "a"], [1, "a"]),
        (set[int], [1, "1", 2], {1, 2}),
        (frozenset, [1], frozenset([1])),
        (tuple[int, str], ["1", "a"], (1, "a")),
        (tuple[int, ...], [1, "2"], (1, 2)),
        (tuple, [1, "a"], (1, "a")),
        (dict, {"a": 1}, {"a": 1}),
        (dict[int, float], {"1": "2.5"}, {1: 2.5}),
        (collections.abc.Sequence[int], ["1"], [1]),
        (collections.abc.Mapping[str, int], {"a": "1"}, {"a": 1}),
        (Optional[int], None, None),
        (Optional[int], "7", 7),
        (int | str, "3", "3"),
        (int | str, 3, 3),
        (str | int, 3, 3),
        (float | int, 3, 3),
        (int | list[int], [3], [3]),
        (datetime.datetime | str, "2020-01-01", datetime.datetime(2020, 1, 1)),  # noqa: DTZ001
        (datetime.datetime | str, "never", "never"),
        (Item | list[Item], {"name": "a", "price": 1}, Item("a", 1.0)),
        (Literal["a", 2, True], "2", 2),
        (Literal["a", 2, True], "true", True),
        (Colour, "red", Colour.RED),
        (Colour, "RED", Colour.RED),
        (Colour, 2, Colour.BLUE),
        (Colour, "2", Colour.BLUE),
        (uuid.UUID, "0" * 32, uuid.UUID(int=0)),
        (bytes, "-_8=", b"\xfb\xff"),
        (bytes, b"as it is", b"as it is"),
        (decimal.Decimal, 0.1, decimal.Decimal("0.1")),
        (decimal.Decimal, "1e3", decimal.Decimal("1e3")),
        (datetime.datetime, "2020-01-02T00:00:00Z", NEW_YEAR),
        (datetime.date, "2020-01-02", datetime.date(2020, 1, 2)),
        (datetime.time, "03:04", datetime.time(3, 4)),
        (datetime.timedelta, "P1DT2H3M4.5S", datetime.timedelta(1, 4.5, hours=2, minutes=3)),
        (datetime.timedelta, "-PT1M", datetime.timedelta(minutes=-1)),
        (datetime.timedelta, "1.5", datetime.timedelta(seconds=1.5)),
        (datetime.timedelta, 90, datetime.timedelta(seconds=90)),
        (NewType("Age", int), "3", 3),
        (Annotated[int, "years"], "3", 3),
        (Point, [1, "2"], Point(1, 2)),
        (Point, {"x": 1}, Point(1)),
        (Options, {"depth": "3"}, {"depth": 3}),
        (Order, {"count": "3", "at": "2020-01-02"}, Order(count=3, at=datetime.date(2020, 1, 2))),
        (list[Order], [{"count": 1}], [Order(count=1)]),
        (Annotated[int, pydantic.Field(gt=2)], "3", 3),
        (Any, {"a": [1]}, {"a": [1]}),
        (object, 3, 3),
        (typing.TypeVar("T"), 3, 3),
        (collections.abc.Callable, 3, 3),
        (5, 3, 3),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_is_converted_to_the_annotated_type(
    annotation: Any, given: Any, converted: Any
) -> None:
    found = convert(annotation, given)
    assert found == converted
    assert type(found) is type(converted)


@pytest.mark.parametrize(
    ("annotation", "given", "fault"),
    [
        (list[int], 3, "x=3 is not list[int]"),
        (list[int], [1, "a", None], "x[1]='a' is not int; x[2]=None is not int"),
        (tuple[int, str], [1], "x has 1 items, and tuple[int, str] has 2"),
        (dict[int, bool], {"a": True, "1": "?"}, "x: the key='a' is not int"),
        (dict[str, bool], {"a": "?", "b": 2}, "x['a']='?' is not bool; x['b']=2 is not bool"),
        (set[list[int]], [[1]], "x: unhashable type: 'list'"),
        (int | list[int], 1.5, "x=1.5 is not int or list[int]"),
        (Optional[Item], {"name": 1}, "x.price is missing; x.name=1 is not str"),
        (Literal["a", 2], "b", "x='b' is not one of 'a', 2"),
        (Colour, True, "x=True is not one of 'red', 2"),
        (bytes, "?", "x='?' is not base64"),
        (decimal.Decimal, "NaN", "x='NaN' is not Decimal"),
        (decimal.Decimal, True, "x=True is not Decimal"),
        (datetime.datetime, 3, "x=3 is not datetime (ISO 8601)"),
        (datetime.timedelta, "P", "x='P' is not timedelta (ISO 8601, or seconds)"),
        (datetime.timedelta, "P1Y", "x='P1Y' is not timedelta (ISO 8601, or seconds)"),
        (datetime.timedelta, 1e300, "x=1e+300 is not timedelta (ISO 8601, or seconds)"),
        (uuid.UUID, 3, "x=3 is not UUID"),
        (float, 10**400, f"x={10**400!r:.80} is not float"),
        (Point, [1, 2, 3], "x=[1, 2, 3] is not Point"),
        (Point, {}, "x.x is missing"),
        (Options, {"depht": 1}, "x.depht is not a field of Options; x.depth is missing"),
        (Item, "a", "x='a' is not Item"),
        (Order, {"count": "a"}, "x.count: Input should be a valid integer, unable to parse string"
         " as an integer"),
        (list[Order], [{}], "x[0].count: Field required"),
        (Annotated[int, pydantic.Field(gt=2)], 1, "x: Input should be greater than 2"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_fault_says_what_is_wrong(annotation: Any, given: Any, fault: str) -> None:
    assert "; ".join(faults(annotation, given)) == fault


def test_every_fault_of_a_nested_value_is_reported() -> None:
    items = [{"name": "a", "price": "x"}, {"nmae": "b", "price": 1, "parent": {"name": 3}}]
    assert faults(list[Item], items) == [
        "x[0].price='x' is not float",
        "x[1].nmae is not a field of Item",
        "x[1].name is missing",
        "x[1].parent.price is missing",
        "x[1].parent.name=3 is not str",
    ]


def test_the_number_of_reported_faults_is_limited() -> None:
    assert len(faults(list[int], ["a"] * 100_000)) == shapes.MAX_FAULTS


def test_a_class_may_reject_values_itself() -> None:
    @dataclasses.dataclass
    class Positive:
        number: int

        def __post_init__(self) -> None:
            if self.number < 1:
                raise ValueError("number must be positive")

    assert convert(list[Positive], [{"number": 1}]) == [Positive(1)]
    assert faults(list[Positive], [{"number": 0}]) == ["x[0]: number must be positive"]


def test_an_enum_may_convert_other_values_to_members() -> None:
    class Mode(enum.Flag):
        READ = 1
        WRITE = 2

    assert convert(Mode, 3) == Mode.READ | Mode.WRITE
    assert faults(Mode, 9) == ["x=9 is not one of 1, 2"]


@pytest.mark.parametrize(
    ("annotation", "text", "converted"),
    [
        (list[int], "3", [3]),
        (list[int], "[1, 2]", [1, 2]),
        (list[str], "a,b", ["a,b"]),
        (list[str], "[not json", ["[not json"]),
        (Optional[list[float]], "3", [3.0]),
        (set[int], "3", {3}),
        (dict[str, int], '{"a": "1"}', {"a": 1}),
        (Item, '{"name": "a", "price": 1}', Item("a", 1.0)),
        (list[Item], '{"name": "a", "price": 1}', [Item("a", 1.0)]),
        (int | list[int], "3", 3),
        (str | list[str], "[]", "[]"),
        (Any, "[]", "[]"),
    ],
    ids=repr,
)
def test_text_from_a_query_may_be_a_list_or_an_object(
    annotation: Any, text: str, converted: Any
) -> None:
    assert convert(annotation, text) == converted


def test_text_inside_json_is_only_text() -> None:
    assert faults(list[list[int]], ["3"]) == ["x[0]='3' is not list[int]"]


# Annotations that are text, and those that mean nothing


def test_annotations_may_be_text() -> None:
    assert convert("list[Item]", [{"name": "a", "price": 1}], Item=Item) == [Item("a", 1.0)]
    assert convert("Optional[list['Item']]", [], Item=Item, Optional=Optional) == []


def test_a_type_may_contain_itself() -> None:
    names: dict[str, Any] = {}
    names["Tree"] = typing.Union[int, list["Tree"]]  # type: ignore[valid-type] # noqa: F821
    assert convert("Tree", [1, ["2", []]], **names) == [1, [2, []]]
    assert faults("Tree", [1, ["a"]], **names) == ["x[1][0]='a' is not int or list[Tree]"]


@pytest.mark.parametrize("text", ["Nowhere", "list[Nowhere]", "1/0", "not python", "a.b"])
def test_an_unresolved_annotation_accepts_any_value(text: str) -> None:
    assert convert(text, {"a": 3}) == {"a": 3}


def test_an_unknown_name_in_a_class_leaves_its_other_fields_checked() -> None:
    @dataclasses.dataclass
    class Half:
        known: int
        unknown: "Nowhere"  # type: ignore[name-defined] # noqa: F821

    assert convert(Half, {"known": "1", "unknown": "?"}) == Half(1, "?")
    assert faults(Half, {"known": "a", "unknown": "?"}) == ["x.known='a' is not int"]


def test_fields_are_those_of_the_constructor() -> None:
    @dataclasses.dataclass
    class Shop:
        name: str
        secret: dataclasses.InitVar[int]
        count: int = dataclasses.field(default=0, init=False)
        shops: typing.ClassVar[int] = 0

        def __post_init__(self, secret: int) -> None:
            self.count = secret

    assert convert(Shop, {"name": "a", "secret": "7"}).count == 7
    assert faults(Shop, {"name": "a", "secret": 7, "count": 1, "shops": 1}) == [
        "x.count is not a field of Shop",
        "x.shops is not a field of Shop",
    ]


def test_keys_of_a_typed_dict_may_be_marked_one_by_one() -> None:
    class Marked(TypedDict):
        a: int
        b: NotRequired[int]

    assert convert(Marked, {"a": "1"}) == {"a": 1}
    assert faults(Marked, {"b": 1}) == ["x.a is missing"]


def test_a_none_by_default_may_be_given() -> None:
    @dataclasses.dataclass
    class Lax:
        number: int = None  # type: ignore[assignment]

    assert convert(Lax, {"number": None}) == Lax(None)  # type: ignore[arg-type]


def test_a_value_nested_too_deeply_is_rejected() -> None:
    value: Any = []
    chain: Any = None
    for _ in range(5000):
        value, chain = [value], {"name": "a", "price": 1, "parent": chain}
    (fault,) = faults(int, value)
    assert fault.startswith("x=") or fault == "x is too deeply nested"
    assert faults(Item, chain) == ["x is too deeply nested"]


# Results


def test_results_that_json_has_no_type_for_become_text() -> None:
    result = [
        Item("a", 1.5), Colour.RED, Order(count=1), uuid.UUID(int=1), decimal.Decimal("1.10"),
        NEW_YEAR, datetime.timedelta(1, 2, 500_000),
        datetime.timedelta(seconds=-90), b"\xff",
    ]  # fmt: skip
    assert json.loads(json.dumps(result, default=converters.encode)) == [
        {"name": "a", "price": 1.5, "parent": None, "tags": []},
        "red",
        {"count": 1, "at": None},
        "00000000-0000-0000-0000-000000000001",
        "1.10",
        "2020-01-02T00:00:00+00:00",
        "P1DT2.5S",
        "-P0DT90S",
        "/w==",
    ]


@pytest.mark.parametrize(
    "result",
    [{1, 2}, object(), Item, lambda: 0, 1j],
    ids=["set", "object", "class", "function", "complex"],
)
def test_a_result_without_a_json_representation_is_an_error(result: Any) -> None:
    with pytest.raises(TypeError, match="is not JSON"):
        json.dumps(result, default=converters.encode)
