"""Constraints: what an app wants of the machines of its tasks, of which there is only this one."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fob.engine.definitions.field_types import fault, listed, text
from fob.errors import BadRequest

Json = dict[str, Any]
Constraint = list[str]

READ = listed(listed(text()))
_NUMBER = re.compile("[0-9]{1,9}")
HOSTNAME = ("hostname", "@hostname")


def attributes_of(setting: str) -> dict[str, str]:
    """The attributes of this machine, written as for a Mesos agent: `rack:7;disk:ssd`.

    Raises `BadRequest` for what is not written so.
    """
    pairs = [part.partition(":") for part in setting.split(";") if part.strip()]
    if wrong := [name for name, _, value in pairs if not name.strip() or not value.strip()]:
        raise BadRequest(f"FOB_ATTRIBUTES gives no value to {wrong[0]!r}; write name:value;...")
    return {name.strip(): value.strip() for name, _, value in pairs}


def unmet(constraint: Constraint, machine: Mapping[str, str], placed: int) -> str:
    """Why the next task of an app, which has `placed` tasks already, cannot be on this machine;
    empty when it can. `machine` has its hostname and attributes.
    """
    field, operator, *rest = constraint
    operator, value = operator.upper(), rest[0] if rest else ""
    name = HOSTNAME[0] if field in HOSTNAME else field
    if name not in machine:
        known = ", ".join(machine)
        missing = f"wants {field}, which this machine has not; it has {known}"
        return "" if operator == "UNLIKE" else missing
    return _OPERATORS[operator](field, machine[name], value, placed)


def _unique(field: str, here: str, value: str, placed: int) -> str:
    text = f"wants another {field} for each instance; this machine is the only one"
    return text if placed else ""


def _cluster(field: str, here: str, value: str, placed: int) -> str:
    return f"wants the {field} {value}; here it is {here}" if value not in ("", here) else ""


def _is(field: str, here: str, value: str, placed: int) -> str:
    return f"wants the {field} {value}; here it is {here}" if value != here else ""


def _like(field: str, here: str, value: str, placed: int) -> str:
    alike = re.fullmatch(value, here)
    return "" if alike else f"wants a {field} like {value}; here it is {here}"


def _unlike(field: str, here: str, value: str, placed: int) -> str:
    alike = re.fullmatch(value, here)
    return f"wants a {field} unlike {value}; here it is {here}" if alike else ""


def _max_per(field: str, here: str, value: str, placed: int) -> str:
    return f"wants at most {value} instances on each {field}" if placed >= int(value) else ""


def _group_by(field: str, here: str, value: str, placed: int) -> str:
    if not placed or int(value or 0) <= 1:
        return ""
    return f"wants to be spread over {value} of {field}; this machine is the only one"


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
    """What is wrong with the constraints, by Marathon's paths and in its words."""
    for index, constraint in enumerate(definition["constraints"]):
        if error := _fault(constraint):
            yield fault(f"/constraints({index})", error)


def settled(constraints: list[Constraint]) -> list[Constraint]:
    """The constraints with their operators as Marathon writes them; there are no `faults`."""
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
