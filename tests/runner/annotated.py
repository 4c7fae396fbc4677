"""Converts values by annotations, and generates pairs of annotations and values."""

import dataclasses
import datetime
import decimal
import enum
import string
import typing
import uuid
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from fob.runner.features import annotations, schema, shapes

QUICK = settings(max_examples=60, deadline=None, database=None)


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


def reader(**names: Any) -> annotations.Reader:
    """A reader of annotations in which these names may occur."""
    return annotations.Reader(names)


def convert(annotation: Any, value: Any, **names: Any) -> Any:
    """Convert `value` as an argument `x` with this annotation."""
    return reader(**names).converter(annotation, "x")(value)


def faults(annotation: Any, value: Any, **names: Any) -> list[str]:
    """The faults of a value that does not fit."""
    try:
        converted = convert(annotation, value, **names)
    except shapes.Unfit as unfit:
        return unfit.faults
    raise AssertionError(f"{value!r} was taken as {converted!r}")


def described(function: Any, **names: Any) -> tuple[Any, Any]:
    """Schemas of a function's arguments and result."""
    return schema.schemas(function, "", reader(**names))


Pair = tuple[Any, st.SearchStrategy[Any]]

LENGTHS = st.timedeltas(datetime.timedelta(-(10**6)), datetime.timedelta(10**6))
SCALARS: list[Pair] = [
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (str, st.text(max_size=8)),
    (bytes, st.binary(max_size=8)),
    (datetime.datetime, st.datetimes(timezones=st.just(datetime.UTC) | st.none())),
    (datetime.date, st.dates()),
    (datetime.time, st.times()),
    (datetime.timedelta, LENGTHS),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (uuid.UUID, st.uuids()),
    (Colour, st.sampled_from(Colour)),
    (typing.Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (type(None), st.none()),
    (typing.Any, st.integers() | st.lists(st.text(max_size=3))),
]


def _contained(pair: Pair) -> st.SearchStrategy[Pair]:
    """Containers of one type."""
    kind, of = pair
    few = st.lists(of, max_size=3)
    return st.sampled_from(
        [
            (list[kind], few),
            (tuple[kind, ...], few.map(tuple)),
            (dict[str, kind], st.dictionaries(st.text(max_size=3), of, max_size=3)),
            (typing.Optional[kind], of | st.none()),  # noqa: UP045 - not every kind has |
            (typing.Annotated[kind, "told"], of),
        ]
    )


def _record(pairs: list[Pair]) -> Pair:
    """A dataclass with a field of each type."""
    names = string.ascii_lowercase[: len(pairs)]
    fields = [(name, kind) for name, (kind, _) in zip(names, pairs, strict=True)]
    cls = dataclasses.make_dataclass("Made", fields)
    return cls, st.tuples(*(of for _, of in pairs)).map(lambda made: cls(*made))


def _fixed(pairs: list[Pair]) -> Pair:
    return tuple[tuple(kind for kind, _ in pairs)], st.tuples(*(of for _, of in pairs))  # type: ignore[misc]


def _larger(kinds: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    several = st.lists(kinds, min_size=1, max_size=3)
    return kinds.flatmap(_contained) | several.map(_record) | several.map(_fixed)


# annotations, each with a strategy for values that it describes
PAIRS: st.SearchStrategy[Pair] = st.recursive(st.sampled_from(SCALARS), _larger, max_leaves=6)

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=4)
    | st.sampled_from(["1", "true", "[1]", "{}", "P1D", "2020-01-01", "red"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcde"), inner, max_size=3)
    ),
    max_leaves=8,
)
