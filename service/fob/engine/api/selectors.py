"""Which apps a query asks for: `?id=`, `?cmd=` and `?label=`."""

import re
from collections.abc import Callable

from fob.engine.definitions.app_definitions import Definition
from fob.engine.errors import ApiError

Test = Callable[[dict[str, str]], bool]

_KEY = r"([A-Za-z0-9][A-Za-z0-9_.-]*)"
_EQUAL = re.compile(rf"{_KEY}\s*(==|!=)\s*(.*)")
_AMONG = re.compile(rf"{_KEY}\s+(in|notin)\s*\(([^)]*)\)")
_COMMA = re.compile(r",(?![^(]*\))")  # one that is not within parentheses


def selected(definition: Definition, id_: str, cmd: str, label: Test) -> bool:
    """True for an app whose id and command have these texts in them, in upper or lower case."""
    return (
        id_.lower() in definition["id"]
        and cmd.lower() in (definition["cmd"] or "").lower()
        and label(definition["labels"])
    )


def label_selector(text: str) -> Test:
    """The test of labels that a Marathon label selector describes: `key`, `key==value`,
    `key!=value`, `key in (a, b)`, `key notin (a, b)`; commas mean and.

    Raises `Refusal` 422 when it is none.
    """
    tests = [_test(part.strip()) for part in _COMMA.split(text) if part.strip()]
    return lambda labels: all(test(labels) for test in tests)


def _test(part: str) -> Test:
    if found := _EQUAL.fullmatch(part):
        key, operator, value = found.groups()
        return _among(key, {value.strip()}, operator == "==")
    if found := _AMONG.fullmatch(part):
        key, operator, values = found.groups()
        return _among(key, {value.strip() for value in values.split(",")}, operator == "in")
    if re.fullmatch(_KEY, part):
        return lambda labels: part in labels
    raise ApiError(422, f"Can not parse label selector: {part!r}")


def _among(key: str, values: set[str], wanted: bool) -> Test:
    return lambda labels: (labels.get(key) in values) == wanted
