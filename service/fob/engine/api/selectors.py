"""The queries that select apps: `?id=`, `?cmd=` and `?label=`."""

import re
from collections.abc import Callable

from fob.engine.definitions.app_definitions import Definition
from fob.engine.errors import ApiError

LabelTest = Callable[[dict[str, str]], bool]

_KEY = r"([A-Za-z0-9][A-Za-z0-9_.-]*)"
_EQUAL = re.compile(rf"{_KEY}\s*(==|!=)\s*(.*)")
_IN = re.compile(rf"{_KEY}\s+(in|notin)\s*\(([^)]*)\)")
_COMMA = re.compile(r",(?![^(]*\))")  # not within parentheses


def selects(definition: Definition, id_: str, cmd: str, label: LabelTest) -> bool:
    """Whether the app's id and command contain these texts, in any case, and its labels match."""
    return (
        id_.lower() in definition["id"]
        and cmd.lower() in (definition["cmd"] or "").lower()
        and label(definition["labels"])
    )


def label_selector(text: str) -> LabelTest:
    """Parse a Marathon label selector: `key`, `key==value`, `key!=value`, `key in (a, b)` and
    `key notin (a, b)`, where commas mean "and".

    Raises `ApiError` 422 if it is malformed.
    """
    tests = [_test(part.strip()) for part in _COMMA.split(text) if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _test(part: str) -> LabelTest:
    if found := _EQUAL.fullmatch(part):
        key, operator, value = found.groups()
        return _is_in(key, {value.strip()}, operator == "==")
    if found := _IN.fullmatch(part):
        key, operator, values = found.groups()
        return _is_in(key, {value.strip() for value in values.split(",")}, operator == "in")
    if re.fullmatch(_KEY, part):
        return lambda labels: part in labels
    raise ApiError(422, f"Can not parse label selector: {part!r}")


def _is_in(key: str, values: set[str], expected: bool) -> LabelTest:
    return lambda labels: (labels.get(key) in values) == expected
