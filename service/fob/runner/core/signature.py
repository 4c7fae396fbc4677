"""How a request's fields become the arguments of a function."""

from __future__ import annotations

import sys

from fob.runner.core.errors import RequestError
from fob.runner.core.feature import feature
from fob.runner.core.parameters import (
    KEYWORD_ONLY,
    MISSING,
    POSITIONAL_ONLY,
    VAR_KEYWORD,
    VAR_POSITIONAL,
    parameters_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fob.runner.core.request import Request


class Signature:
    """The parameters of a function; `why` says why requests are read as its arguments."""

    def __init__(self, name: str, function: Any) -> None:
        self.name, self.function = name, function
        self.parameters = parameters_of(function)
        named = [p for p in self.parameters if p.kind not in (VAR_POSITIONAL, VAR_KEYWORD)]
        self.named = {p.name: p for p in named}
        self.positional = [p.name for p in named if p.kind != KEYWORD_ONLY]
        self.required = [p.name for p in named if p.default is MISSING]
        self.positional_only = [p for p in named if p.kind == POSITIONAL_ONLY]
        self.keywords = next((p for p in self.parameters if p.kind == VAR_KEYWORD), None)
        converted = [*named, self.keywords] if self.keywords else named
        # whose annotations features/annotations.py has to read, once there is a value for them
        self.unread = [p for p in converted if p.annotation is not MISSING and not p.simple]
        raw = [p.name for p in named if p.annotation in (bytes, "bytes")]
        if len(named) == 1 and named[0].name == "body" and named[0].annotation is MISSING:
            raw = ["body"]
        self.raw = raw[0] if len(raw) == 1 else ""  # the parameter that gets the body's bytes
        self.why = "its parameters are its arguments"

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parameters))})"

    def wants_raw(self, request: Request) -> bool:
        """Whether the body's bytes are an argument; beside others, JSON and forms name those."""
        if not self.raw or len(self.named) == 1:
            return bool(self.raw)
        kind = request.headers.get("content-type", "").lower()
        return not kind.startswith(("application/json", "application/x-www-form-urlencoded"))

    def bind(self, fields: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Convert `fields` to positional and keyword arguments.

        Raises RequestError with every fault.
        """
        if self.unread:
            self._read_annotations()
        faults: list[str] = []
        values = {}
        for name, value in fields.items():
            parameter = self.named.get(name, self.keywords)
            if parameter is None:
                faults.append(f"{name} is not an argument")
                continue
            try:
                values[name] = parameter.convert(value)
            except ValueError as error:
                faults += [name + fault for fault in getattr(error, "faults", [str(error)])]
        faults += [f"{name} is missing" for name in self.required if name not in fields]
        if faults:
            raise self.error("; ".join(faults), faults)
        return [values.pop(p.name, p.default) for p in self.positional_only], values

    def whole(self, body: dict[str, Any]) -> str:
        """The name of the only parameter if `body` is its value, otherwise "".

        That is so when the parameter accepts an object and `body` does not name the parameter.
        """
        names = list(self.named)
        if len(names) != 1 or self.keywords or not body or names[0] in body:
            return ""
        if self.unread:
            self._read_annotations()
        return names[0] if self.named[names[0]].accepts_object else ""

    def _read_annotations(self) -> None:
        reader = self._reader()
        for parameter in self.unread:
            parameter.accepts_object = dict in reader.read(parameter.annotation).accepts
            parameter.annotated = reader.converter(parameter.annotation, "")
        self.unread = []  # last: until then other threads read them too

    def _reader(self) -> Any:
        module = sys.modules.get(getattr(self.function, "__module__", "")) or sys
        return feature("annotations").Reader(vars(module))

    def schemas(self) -> Any:
        """JSON Schemas of the arguments and of the result, None for one without annotation."""
        return feature("schema").schemas(self.function, self.raw, self._reader())

    def error(self, message: str, faults: list[str]) -> RequestError:
        details = {"signature": str(self), "why": self.why, "faults": faults}
        return RequestError(400, "bad_arguments", f"{message}; the function is {self}", details)
