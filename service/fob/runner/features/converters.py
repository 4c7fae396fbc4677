"""Values that JSON has no type for: how arguments are converted to them, and results from them.

What `encode` returns, the function from `maker` for its type converts back.
"""

from __future__ import annotations

import base64
import functools
import re
import sys

from fob.runner.core.parameters import CONVERTERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DURATION = re.compile(
    r"(?P<sign>[-+]?)P(?=[\dT])((?P<weeks>\d+)W)?((?P<days>\d+)D)?"
    r"(T(?=\d)((?P<hours>\d+)H)?((?P<minutes>\d+)M)?((?P<seconds>\d+(\.\d+)?)S)?)?",
    re.ASCII,
)


def maker(cls: Any) -> tuple[str, Callable[[Any], Any]] | None:
    """How values of a class are made of JSON values or text; None for an unknown class.

    Returns a name for people, and a function that raises an error for what it cannot convert.
    """
    if cls in CONVERTERS:
        return cls.__name__, CONVERTERS[cls]
    name, read = READ.get(f"{cls.__module__}.{cls.__qualname__}", ("", None))
    return (name, functools.partial(read, cls)) if read else None


def encode(value: Any) -> Any:
    """A JSON value that stands for `value`. Raises TypeError if there is none."""
    cls = type(value)
    for base in cls.__mro__:  # an instance of a subclass is written as one of its base
        write = WRITE.get(f"{base.__module__}.{base.__qualname__}")
        if write:
            return write(value)
    if hasattr(cls, "__dataclass_fields__"):
        dataclasses = sys.modules["dataclasses"]
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(cls, "__get_pydantic_core_schema__"):
        return value.model_dump(mode="json") if hasattr(cls, "model_dump") else str(value)
    raise TypeError(f"a {cls.__name__} is not JSON")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _nothing(_: Any, value: Any) -> None:
    if value is not None:
        raise ValueError


def _bytes(_: Any, value: Any) -> bytes:
    """Base64 or its variant for URLs; a body may be bytes already."""
    if isinstance(value, bytes):
        return value
    return base64.b64decode(_text(value).replace("-", "+").replace("_", "/"), validate=True)


def _moment(cls: Any, value: Any) -> Any:
    """ISO 8601, also with Z, which Python before 3.11 does not accept."""
    text = _text(value)
    return cls.fromisoformat(text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text)


def _duration(cls: Any, value: Any) -> Any:
    """Seconds, or ISO 8601 without years and months, which have no fixed length."""
    if isinstance(value, bool):
        raise ValueError
    found = DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return cls(seconds=float(value))
    parts = {name: float(part or 0) for name, part in found.groupdict().items() if name != "sign"}
    length = cls(**parts)
    return -length if found["sign"] == "-" else length


def _decimal(cls: Any, value: Any) -> Any:
    """Text or a number; 0.1 becomes exactly 0.1."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    number = cls(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise ValueError
    return number


READ: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "builtins.NoneType": ("None", _nothing),
    "builtins.bytes": ("base64", _bytes),
    "datetime.datetime": ("datetime (ISO 8601)", _moment),
    "datetime.date": ("date (ISO 8601)", _moment),
    "datetime.time": ("time (ISO 8601)", _moment),
    "datetime.timedelta": ("timedelta (ISO 8601, or seconds)", _duration),
    "decimal.Decimal": ("Decimal", _decimal),
    "uuid.UUID": ("UUID", lambda cls, value: cls(_text(value))),
}


def _write_duration(value: Any) -> str:
    sign = "-" if value.days < 0 else ""
    value = abs(value)
    seconds = f"{value.seconds}.{value.microseconds:06d}".rstrip("0").rstrip(".")
    return f"{sign}P{value.days}DT{seconds}S"


WRITE: dict[str, Callable[[Any], Any]] = {
    "builtins.bytes": lambda value: base64.b64encode(value).decode(),
    "datetime.datetime": lambda value: value.isoformat(),
    "datetime.date": lambda value: value.isoformat(),
    "datetime.time": lambda value: value.isoformat(),
    "datetime.timedelta": _write_duration,
    "decimal.Decimal": str,
    "enum.Enum": lambda value: value.value,
    "uuid.UUID": str,
}
