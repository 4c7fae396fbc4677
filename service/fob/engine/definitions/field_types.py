"""The types and ranges of definition fields, as parsers that report faults in Marathon's words.

Marathon 1.5 names some faults only by a code (`error.min`); here a message in words follows it.
"""

import json
import re
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

from fob.engine.errors import UNDEFINED

Json = dict[str, Any]
Faults = list[Json]
# where a value is: the path of its parent, and its key or index there; None is the root.
# A linked list, because paths are needed only if there is a fault, and every value has one.
Path = tuple[Any, str | int] | None
# Takes a value and its path, appends to the faults, and returns the value to store: objects without
# nulls and unknown keys. If it has appended a fault, the returned value is meaningless.
Parser = Callable[[Any, Path, Faults], Any]

MAX_INTEGER = 2**31 - 1
MAX_NUMBER = sys.float_info.max
MAX_REPEATED_CHARS = 1000  # of an object that lacks a key, in the message
ENABLE = "Feature {0} is not enabled. Enable with --enable_features {0})"


def fault(path: str, *errors: str) -> Json:
    return {"path": path, "errors": list(errors)}


def fault_at(path: Path, *errors: str) -> Json:
    """A fault, with the path in Marathon's notation: `/portDefinitions(0)/port`."""
    written = ""
    while path is not None:
        path, key = path
        written = f"({key}){written}" if isinstance(key, int) else f"/{key}{written}"
    return fault(written or "/", *errors)


def undefined(key: str, given: Json) -> str:
    """Say that the object `given` lacks a key, in Marathon's words, which repeat the object."""
    written = json.dumps(given, separators=(",", ":"), ensure_ascii=False)
    if len(written) > MAX_REPEATED_CHARS:
        written = written[:MAX_REPEATED_CHARS] + "..."
    return f"'{key}'{UNDEFINED}{written}"


def text(
    min_chars: int = 0, max_chars: int = sys.maxsize, pattern: re.Pattern[str] | None = None
) -> Parser:
    """A string of `min_chars` to `max_chars` characters that matches `pattern` as a whole."""

    def parse(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not str:
            faults.append(fault_at(path, "error.expected.jsstring"))
        elif len(value) < min_chars:
            faults.append(fault_at(path, "error.minLength", "must not be empty"))
        elif len(value) > max_chars:
            message = f"has {len(value)} characters, expected {max_chars} or fewer"
            faults.append(fault_at(path, "error.maxLength", message))
        elif "\0" in value:
            faults.append(fault_at(path, "error.pattern", "must not contain NUL"))
        elif pattern and not pattern.fullmatch(value):
            message = f"must fully match regular expression '^{pattern.pattern}$'"
            faults.append(fault_at(path, "error.pattern", message))
        return value

    return parse


def number(minimum: float, maximum: float = MAX_NUMBER) -> Parser:
    def parse(value: Any, path: Path, faults: Faults) -> Any:
        # excludes bool, NaN, infinities, and integers that no float can hold
        if type(value) not in (int, float) or not -MAX_NUMBER <= value <= MAX_NUMBER:
            faults.append(fault_at(path, "error.expected.jsnumber"))
        elif value < minimum:
            message = f"got {float(value)}, expected {float(minimum)} or more"
            faults.append(fault_at(path, "error.min", message))
        elif value > maximum:
            message = f"got {float(value)}, expected {float(maximum)} or less"
            faults.append(fault_at(path, "error.max", message))
        return value

    return parse


def integer(minimum: int = 0, maximum: int = MAX_INTEGER) -> Parser:
    """A number without a fraction; 2.0 becomes 2."""

    def parse(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is int and minimum <= value <= maximum:
            return value
        if type(value) not in (int, float):
            faults.append(fault_at(path, "error.expected.jsnumber"))
        elif not -MAX_INTEGER <= value <= MAX_INTEGER or value % 1:
            faults.append(fault_at(path, "error.expected.int"))
        elif value < minimum:
            faults.append(fault_at(path, "error.min", f"got {value}, expected {minimum} or more"))
        elif value > maximum:
            faults.append(fault_at(path, "error.max", f"got {value}, expected {maximum} or less"))
        else:
            return int(value)
        return value

    return parse


def boolean(value: Any, path: Path, faults: Faults) -> Any:
    if type(value) is not bool:
        faults.append(fault_at(path, "error.expected.jsboolean"))
    return value


def one_of(*words: str) -> Parser:
    """One of these words, in any case; returns it as written here."""
    known = {word.lower(): word for word in words}

    def parse(value: Any, path: Path, faults: Faults) -> Any:
        word = known.get(value.lower()) if type(value) is str else None
        if word is None:
            faults.append(fault_at(path, "error.unknown.enum.literal"))
        return word

    return parse


def list_of(item: Parser) -> Parser:
    def parse(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not list:
            faults.append(fault_at(path, "error.expected.jsarray"))
            return []
        return [item(each, (path, index), faults) for index, each in enumerate(value)]

    return parse


def map_of(item: Parser) -> Parser:
    """An object with any keys, whose values are all `item`s."""

    def parse(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not dict:
            faults.append(fault_at(path, "error.expected.jsobject"))
            return {}
        return {key: item(each, (path, key), faults) for key, each in value.items()}

    return parse


def object_of(fields: Mapping[str, Parser], required: Collection[str] = ()) -> Parser:
    """An object with these fields. Null means absent, except for a required key; unknown keys are
    dropped."""
    find = fields.get

    def parse(value: Any, path: Path, faults: Faults) -> Any:
        if type(value) is not dict:
            faults.append(fault_at(path, "error.expected.jsobject"))
            return {}
        for key in required:
            if key not in value:
                faults.append(fault_at((path, key), undefined(key, value)))
            elif value[key] is None:
                fields[key](None, (path, key), faults)
        return {
            key: field(each, (path, key), faults)
            for key, each in value.items()
            if each is not None and (field := find(key))
        }

    return parse


PORT = integer(0, 65535)
PORT_NAME = text(1, pattern=re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"))
LABELS = map_of(text())
