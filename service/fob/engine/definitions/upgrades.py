"""The key `upgradeStrategy`: how an app's tasks are replaced by those of a newer version; and
`unreachableStrategy`: after how long, by others elsewhere, which never happens on one machine."""

from collections.abc import Iterator
from typing import Any

from fob.engine.definitions.field_types import (
    Faults,
    Path,
    fault,
    made_of,
    number,
    one_of,
    whole,
)

Json = dict[str, Any]

SINGLE_LABEL = "MARATHON_SINGLE_INSTANCE_APP"
_STRATEGY: Json = {"minimumHealthCapacity": 1, "maximumOverCapacity": 1}
_SINGLE = dict.fromkeys(_STRATEGY, 0)

UNREACHABLE: Json = {"inactiveAfterSeconds": 0, "expungeAfterSeconds": 0}
_read_unreachable = made_of(dict.fromkeys(UNREACHABLE, whole()))
_read_disabled = one_of("disabled")

READ = made_of(dict.fromkeys(_STRATEGY, number(0, 1)))


def read_unreachable(value: Any, path: Path, faults: Faults) -> Any:
    if type(value) is str:
        return _read_disabled(value, path, faults)
    return UNREACHABLE | _read_unreachable(value, path, faults)


def settled(definition: Json) -> Json:
    """The key `upgradeStrategy`, with defaults. The definition has no `faults`."""
    default = _SINGLE if _single(definition) else _STRATEGY
    given: Json = definition["upgradeStrategy"]
    return default | given


def faults(definition: Json) -> Iterator[Json]:
    """What is wrong with these keys, and with an app that is never to have more than one task."""
    unreachable = definition["unreachableStrategy"]
    if type(unreachable) is dict:
        inactive, expunge = (unreachable[key] for key in UNREACHABLE)
        if inactive > expunge:
            told = f"got {inactive} seconds, expected {expunge} seconds or less"
            yield fault("/unreachableStrategy/inactiveAfterSeconds", told)
    if not _single(definition):
        return
    if definition["instances"] > 1:
        yield fault("/", "Single instance app may only have one instance")
    for key, value in definition["upgradeStrategy"].items():
        if value:
            yield fault(f"/upgradeStrategy/{key}", f"got {float(value)}, expected 0.0")


def _single(definition: Json) -> bool:
    return bool(definition["labels"].get(SINGLE_LABEL) == "true")
