"""Constraints on the machines that an app's tasks may run on; here there is only one machine."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fob.engine.definitions.field_types import fault, list_of, text
from fob.errors import BadRequest

Json = dict[str, Any]
Constraint = list[str]

parse = list_of(list_of(text()))
_NUMBER = re.compile("[0-9]{1,9}")
HOSTNAME = ("hostname", "@hostname")


def attributes_of(setting: str) -> dict[str, str]:
    """Parse the attributes of this machine, in the format of a Mesos agent: `rack:7;disk:ssd`.

    Raises `BadRequest` if a name or value is missing.
    """
    pairs = [part.partition(":") for part in setting.split(";") if part.strip()]
    if wrong := [name for name, _, value in pairs if not name.strip() or not value.strip()]:
        raise BadRequest(f"FOB_ATTRIBUTES gives no value to {wrong[0]!r}; write name:value;...")
    return {name.strip(): value.strip() for name, _, value in pairs}


def unmet(constraint: Constraint, machine: Mapping[str, str], placed: int) -> str:
    """Return why an app that already has `placed` tasks can have no other on this machine; empty
    if it can. `machine` is its hostname and attributes.
    """
    field, operator, *rest = constraint
    operator, value = operator.upper(), rest[0] if rest else ""
    name = HOSTNAME[0] if field in HOSTNAME else field
    if name not in machine:
        known = ", ".join(machine)
        missing = f"requires {field}, which this machine does not have; it has {known}"
        return "" if operator == "UNLIKE" else missing
    return _OPERATORS[operator](field, machine[name], value, placed)


def _unique(field: str, here: str, value: str, placed: int) -> str:
    text = f"requires a different {field} for each instance; this machine is the only one"
    return text if placed else ""


def _cluster(field: str, here: str, value: str, placed: int) -> str:
    return f"requires {field} {value}; this machine has {here}" if value not in ("", here) else ""


def _is(field: str, here: str, value: str, placed: int) -> str:
    return f"requires {field} {value}; this machine has {here}" if value != here else ""


def _like(field: str, here: str, value: str, placed: int) -> str:
    matches = re.fullmatch(value, here)
    return "" if matches else f"requires {field} like {value}; this machine has {here}"


def _unlike(field: str, here: str, value: str, placed: int) -> str:
    matches = re.fullmatch(value, here)
    return f"requires {field} unlike {value}; this machine has {here}" if matches else ""


def _max_per(field: str, here: str, value: str, placed: int) -> str:
    return f"requires at most {value} instances on each {field}" if placed >= int(value) else ""


def _group_by(field: str, here: str, value: str, placed: int) -> str:
    if not placed or int(value or 0) <= 1:
        return ""
    return f"requires {value} different values of {field}; this machine is the only one"


_OPERATORS: dict[str, Callable[[str, str, str, int], str]] = {
    "UNIQUE": _unique,
    "CLUSTER": _cluster,
    "GROUP_BY": _group_by,
    "LIKE": _like,
    "MAX_PER": _max_per,
    "UNLIKE": _unlike,
    "IS": _is,
}


def faults(definition: Json) -> Iterator[Json]:
    """Faults of the constraints, with Marathon's paths and messages."""
    for index, constraint in enumerate(definition["constraints"]):
        if error := _fault(constraint):
            yield fault(f"/constraints({index})", error)


def normalized(constraints: list[Constraint]) -> list[Constraint]:
    """Return the constraints with operators in upper case. They must have no `faults`."""
    return [[field, operator.upper(), *rest] for field, operator, *rest in constraints]


def _fault(constraint: Constraint) -> str:
    if not 2 <= len(constraint) <= 3:
        return "Each constraint must have either 2 or 3 fields"
    field, operator, *values = constraint
    if not field:
        return "illegal constraint specification"
    if operator.upper() not in _OPERATORS:
        return (
            "operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER or "
            "UNLIKE"
        )
    return _value_fault(operator.upper(), values[0] if values else None)


def _value_fault(operator: str, value: str | None) -> str:
    if operator == "UNIQUE" and value is not None:
        return "UNIQUE does not accept a value"
    if operator == "GROUP_BY" and value is not None and not _NUMBER.fullmatch(value):
        return "GROUP BY must define an integer value or else no value at all"
    if operator == "MAX_PER" and not _NUMBER.fullmatch(value or ""):
        return "MAX_PER requires an integer value"
    if operator in ("LIKE", "UNLIKE"):
        return _expression_fault(value)
    return ""


def _expression_fault(value: str | None) -> str:
    if not value:
        return "LIKE and UNLIKE require a non-empty, regular expression value"
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError):
        return "is not a valid regular expression"
    return ""
