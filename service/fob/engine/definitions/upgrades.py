"""The field `upgradeStrategy`: how tasks are replaced by those of a newer version; and
`unreachableStrategy`, which is validated and stored but never used on one machine."""

from collections.abc import Iterator
from typing import Any

from fob.engine.definitions.field_types import (
    Faults,
    Path,
    fault,
    integer,
    number,
    object_of,
    one_of,
)

Json = dict[str, Any]

SINGLE_LABEL = "MARATHON_SINGLE_INSTANCE_APP"
_STRATEGY: Json = {"minimumHealthCapacity": 1, "maximumOverCapacity": 1}
_SINGLE = dict.fromkeys(_STRATEGY, 0)

UNREACHABLE: Json = {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}
_parse_unreachable = object_of(dict.fromkeys(UNREACHABLE, integer()))
_parse_disabled = one_of("disabled")

parse = object_of(dict.fromkeys(_STRATEGY, number(0, 1)))


def parse_unreachable(value: Any, path: Path, faults: Faults) -> Any:
    if type(value) is str:
        return _parse_disabled(value, path, faults)
    return UNREACHABLE | _parse_unreachable(value, path, faults)


def with_defaults(definition: Json) -> Json:
    """Return `upgradeStrategy` with defaults filled in. The definition must have no `faults`."""
    default = _SINGLE if _single(definition) else _STRATEGY
    given: Json = definition["upgradeStrategy"]
    return default | given


def faults(definition: Json) -> Iterator[Json]:
    """Faults of both strategies, and of an app that may never have more than one task."""
    unreachable = definition["unreachableStrategy"]
    if type(unreachable) is dict:
        inactive, expunge = (unreachable[key] for key in UNREACHABLE)
        if inactive > expunge:
            message = f"got {inactive} seconds, expected {expunge} seconds or less"
            yield fault("/unreachableStrategy/inactiveAfterSeconds", message)
    if not _single(definition):
        return
    if definition["instances"] > 1:
        yield fault("/", "Single instance app may only have one instance")
    for key, value in definition["upgradeStrategy"].items():
        if value:
            yield fault(f"/upgradeStrategy/{key}", f"got {float(value)}, expected 0.0")


def _single(definition: Json) -> bool:
    return bool(definition["labels"].get(SINGLE_LABEL) == "true")
