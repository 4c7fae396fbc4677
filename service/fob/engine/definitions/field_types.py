"""The types and limits of what definitions may say, with Marathon's words for what is not so.

Where Marathon 1.5 has only a name for a fault (`error.min`), the same in words follows it.
"""

import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

Json = dict[str, Any]
Faults = list[Json]
Path = tuple[Any, str | int] | None  # of what it is in, and its key or index there; None: the whole
# takes a value and its path, adds to the faults, and returns the value as it is kept: objects
# without nulls and unknown keys; what it returns of a value with faults is of no use
Read = Callable[[Any, Path, Faults], Any]

WHOLE_MOST = 2**31 - 1
NUMBER_MOST = sys.float_info.max
ENABLE = "Feature {0} is not enabled. Enable with --enable_features {0})"


def fault(path: str, *errors: str) -> Json:
    return {"path": path, "errors": list(errors)}


def at(path: Path, *errors: str) -> Json:
    """A fault, with the path in Marathon's words: `/portDefinitions(0)/port`."""
    told = ""
    while path is not None:
        path, key = path
        told = f"({key}){told}" if isinstance(key, int) else f"/{key}{told}"
    return fault(told or "/", *errors)


def text(fewest: int = 0, most: int = sys.maxsize, pattern: re.Pattern[str] | None = None) -> Read:
    """A string of so many characters, which matches all of `pattern`."""

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not str:
            faults.append(at(path, "error.expected.jsstring"))
        elif len(value) < fewest:
            faults.append(at(path, "error.minLength", "must not be empty"))
        elif len(value) > most:
            told = f"has {len(value)} characters, expected {most} or fewer"
            faults.append(at(path, "error.maxLength", told))
        elif "\0" in value:
            faults.append(at(path, "error.pattern", "must not have a NUL in it"))
        elif pattern and not pattern.fullmatch(value):
            told = f"must fully match regular expression '^{pattern.pattern}$'"
            faults.append(at(path, "error.pattern", told))
        return value

    return read


def number(least: float, most: float = NUMBER_MOST) -> Read:
    def read(value: Any, path: Path, faults: Faults) -> Any:
        # neither true, nor infinite, nor what no float can hold
        if type(value) not in (int, float) or not -NUMBER_MOST <= value <= NUMBER_MOST:
            faults.append(at(path, "error.expected.jsnumber"))
        elif value < least:
            told = f"got {float(value)}, expected {float(least)} or more"
            faults.append(at(path, "error.min", told))
        elif value > most:
            told = f"got {float(value)}, expected {float(most)} or less"
            faults.append(at(path, "error.max", told))
        return value

    return read


def whole(least: int = 0, most: int = WHOLE_MOST) -> Read:
    """A number without a fraction; 2.0 is 2."""

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is int and least <= value <= most:
            return value
        if type(value) not in (int, float):
            faults.append(at(path, "error.expected.jsnumber"))
        elif not -WHOLE_MOST <= value <= WHOLE_MOST or value % 1:
            faults.append(at(path, "error.expected.int"))
        elif value < least:
            faults.append(at(path, "error.min", f"got {value}, expected {least} or more"))
        elif value > most:
            faults.append(at(path, "error.max", f"got {value}, expected {most} or less"))
        else:
            return int(value)
        return value

    return read


def truth(value: Any, path: Path, faults: Faults) -> Any:
    if type(value) is not bool:
        faults.append(at(path, "error.expected.jsboolean"))
    return value


def one_of(*words: str) -> Read:
    """One of these words, in capitals or not."""
    known = {word.lower(): word for word in words}

    def read(value: Any, path: Path, faults: Faults) -> Any:
        word = known.get(value.lower()) if type(value) is str else None
        if word is None:
            told = f"must be one of {', '.join(words)}"
            faults.append(at(path, "error.unknown.enum.literal", told))
        return word

    return read


def listed(item: Read) -> Read:
    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not list:
            faults.append(at(path, "error.expected.jsarray"))
            return []
        return [item(each, (path, index), faults) for index, each in enumerate(value)]

    return read


def mapped(item: Read) -> Read:
    """An object that may have any keys."""

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not dict:
            faults.append(at(path, "error.expected.jsobject"))
            return {}
        return {key: item(each, (path, key), faults) for key, each in value.items()}

    return read


def made_of(fields: Mapping[str, Read], needed: Collection[str] = ()) -> Read:
    """An object with these keys, of which some are needed."""
    find = fields.get

    def read(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not dict:
            faults.append(at(path, "error.expected.jsobject"))
            return {}
        for key in needed:
            if value.get(key) is None:
                faults.append(at((path, key), "error.path.missing"))
        return {
            key: field(each, (path, key), faults)
            for key, each in value.items()
            if each is not None and (field := find(key))
        }

    return read


PORT = whole(0, 65535)
PORT_NAME = text(1, pattern=re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"))
LABELS = mapped(text())
