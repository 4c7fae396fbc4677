"""The key `upgradeStrategy`: how an app's tasks are replaced by those of a newer version."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

_STRATEGY: Json = {"minimumHealthCapacity": 1, "maximumOverCapacity": 1}


def settled(definition: Json) -> Json:
    """The key `upgradeStrategy`, with defaults. The definition has no `faults`."""
    given = {k: v for k, v in definition["upgradeStrategy"].items() if v is not None}
    return {"upgradeStrategy": _STRATEGY | given}


def faults(definition: Json) -> Iterator[Json]:
    """What is wrong with the upgradeStrategy, by Marathon's paths."""
    for key in _STRATEGY:
        value = definition["upgradeStrategy"].get(key)
        value = 1 if value is None else value
        path = f"/upgradeStrategy/{key}"
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield {"path": path, "errors": ["error.expected.jsnumber"]}
        elif not 0 <= value <= 1:
            yield {"path": path, "errors": ["is not between 0.0 and 1.0"]}
