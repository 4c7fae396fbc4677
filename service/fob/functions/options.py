"""The options of a function: one table of their names, kinds and ranges.

The table reads both the query of `POST /api/gen` (text) and the body of `PATCH` (JSON). An error
lists every fault at once.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fob.config import ACTIVATIONS
from fob.errors import BadRequest

MAX_ENV_BYTES = 64 * 1024

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = re.compile(
    r"(FOB_(?!STORAGE$)|PORT_|MESOS_|MARATHON_|LD_|PYTHON).*|PORT\d*|PORTS|HOST|PATH"
)
_ORIGIN = re.compile(r"\*|https?://[\w.:\[\]-]+", re.ASCII)
_WHOLE = re.compile(r"\d{1,12}", re.ASCII)


@dataclass(frozen=True)
class Options:
    """How to run a function. Where `mem` (MiB), `activation` and `keep_alive` (seconds) are empty,
    the service decides."""

    entry: str | None = None
    name: str = ""
    cpus: float = 0.1
    mem: float | None = None
    instances: int = 1
    timeout: float = 60
    concurrency: int = 16
    env: Mapping[str, str] = field(default_factory=dict)
    cors: str = ""
    activation: str = ""
    keep_alive: float | None = None


class _Fault(Exception):
    """What is wrong with one value."""


def _number(low: float, high: float, unit: str) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number <= high:
            raise _Fault(f"is not a number from {low:g} to {high:g}{unit}")
        return number

    return read


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        text = str(value)
        if not _WHOLE.fullmatch(text) or not low <= int(text) <= high:
            raise _Fault(f"is not a whole number from {low} to {high}")
        return int(text)

    return read


def _entry(value: Any) -> str:
    if not all(part.isidentifier() for part in str(value).replace(":", ".", 1).split(".")):
        raise _Fault("is not NAME, MODULE or MODULE:NAME of a Python function")
    return str(value)


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > 100 or not value.isprintable():
        raise _Fault("is not a name of at most 100 printable characters")
    return value.strip()


def _cors(value: Any) -> str:
    origins = str(value).replace(",", " ").split()
    if not isinstance(value, str) or not all(map(_ORIGIN.fullmatch, origins)):
        raise _Fault("is neither * nor origins such as https://example.org, separated by commas")
    return ",".join(origins)


def _activation(value: Any) -> str:
    if value not in ACTIVATIONS:
        raise _Fault(f"is not {' or '.join(ACTIVATIONS)}")
    return str(value)


_KINDS: dict[str, Callable[[Any], Any]] = {
    "entry": _entry,
    "name": _name,
    "cpus": _number(0.001, 1024, " (CPUs)"),
    "mem": _number(1, 4 * 1024 * 1024, " (MiB)"),
    "instances": _integer(0, 1000),
    "timeout": _number(0.001, 3600, " (seconds)"),
    "concurrency": _integer(1, 10000),
    "cors": _cors,
    "activation": _activation,
    "keep_alive": _number(0, 86400, " (seconds)"),
}
_CHANGEABLE = tuple(name for name in _KINDS if name != "entry")


def from_query(query: Mapping[str, list[str]]) -> Options:
    """Read the options in a query string; raises `BadRequest` listing every fault."""
    values: dict[str, Any] = {}
    env: dict[str, str] = {}
    faults = [f"{key} is given {len(v)} times" for key, v in query.items() if len(v) > 1]
    for key, texts in query.items():
        try:
            if key.startswith("env."):
                env[key[4:]] = _env(key[4:], texts[-1])
            elif key in _KINDS:
                values[key] = _KINDS[key](texts[-1])
            else:
                raise _Fault(f"is not known; known are {', '.join(_KINDS)} and env.NAME")
        except _Fault as fault:
            faults.append(_describe(key, texts[-1], fault))
    _raise_for(faults + _too_much(env))
    return Options(**values, env=env)


def from_change(body: Any) -> dict[str, Any]:
    """Return the settings that a PATCH body changes, by name; None in `env` removes a variable.

    Raises `BadRequest` listing every fault.
    """
    if not isinstance(body, dict) or not body:
        raise BadRequest(
            'Send a JSON object of the settings to change, such as {"instances": 2}; known are '
            + ", ".join((*_CHANGEABLE, "env"))
        )
    values: dict[str, Any] = {}
    faults: list[str] = []
    for key, value in body.items():
        try:
            values[key] = _changed(key, value)
        except _Fault as fault:
            faults.append(_describe(key, value, fault))
    kept = {name: v for name, v in values.get("env", {}).items() if v is not None}
    _raise_for(faults + _too_much(kept))
    return values


def _changed(key: str, value: Any) -> Any:
    if key == "env":
        if not isinstance(value, dict):
            raise _Fault("is not an object of names and strings")
        return {name: v if v is None else _env(name, v) for name, v in value.items()}
    if key not in _CHANGEABLE:
        raise _Fault(f"cannot be changed; known are {', '.join(_CHANGEABLE)} and env")
    return _KINDS[key](value)


def _env(name: str, value: Any) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise _Fault(f"has a name ({name!r}) that is not letters, digits and _")
    if _RESERVED.fullmatch(name):
        raise _Fault(f"would set {name}, which belongs to fob, Marathon or the system")
    if not isinstance(value, str) or "\0" in value or not _encodable(value):
        raise _Fault(f"needs a string without NUL for {name}")
    return value


def _encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_much(env: Mapping[str, str]) -> list[str]:
    size = sum(len(name) + len(value.encode()) for name, value in env.items())
    return [f"env has {size} bytes; the limit is {MAX_ENV_BYTES}"] if size > MAX_ENV_BYTES else []


def _describe(key: str, value: Any, fault: _Fault) -> str:
    """Describe a fault with its value, except values of env, which may be secrets."""
    shown = "" if key.startswith("env") else f"={str(value)[:50]!r}"
    return f"{key}{shown} {fault}"


def _raise_for(faults: list[str]) -> None:
    if faults:
        raise BadRequest("; ".join(faults), code="bad_option", details=faults)
