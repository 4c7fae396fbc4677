"""Describes a function's arguments and result in JSON Schema (2020-12)."""

from __future__ import annotations

import inspect
import json
import re

from fob.runner.features.converters import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from fob.runner.features import shapes
    from fob.runner.features.annotations import Reader

DIALECT = "https://json-schema.org/draft/2020-12/schema"
EMPTY = inspect.Parameter.empty
SCALARS: dict[str, dict[str, Any]] = {
    "NoneType": {"type": "null"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "Decimal": {"type": ["string", "number"], "format": "decimal"},
    "float": {"type": "number"},
    "int": {"type": "integer"},
    "str": {"type": "string"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": ["string", "number"], "format": "duration"},
    "UUID": {"type": "string", "format": "uuid"},
}


def schemas(
    function: Any, raw: str, reader: Reader
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The schema of the arguments, an object, and that of the result.

    The second is None if the result has no annotation. `raw` names the argument that gets the
    body's bytes, if there is one.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-ins have none
        return {"$schema": DIALECT, "type": "object"}, None
    arguments = Writer("validation")
    body = arguments.arguments(signature.parameters.values(), reader, descriptions(function))
    if raw:
        body["properties"][raw]["contentMediaType"] = "application/octet-stream"
    if signature.return_annotation is EMPTY:
        return arguments.whole(body), None
    result = Writer("serialization")
    shape = reader.read(signature.return_annotation)
    return arguments.whole(body), result.whole(result.write(shape))


class Writer:
    """Writes shapes as one schema; each class is defined once, in its `$defs`.

    `mode` is pydantic's word for the direction: validation or serialization.
    """

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.defs: dict[str, Any] = {}
        self.names: dict[Any, str] = {}  # of types in `defs`
        self.open: set[str] = set()  # names of types being written

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"$schema": DIALECT, **body} | ({"$defs": self.defs} if self.defs else {})

    def arguments(
        self, parameters: Iterable[inspect.Parameter], reader: Reader, texts: dict[str, str]
    ) -> dict[str, Any]:
        """The object of all arguments that a caller may pass; `texts` describes some by name."""
        properties, required, others = {}, [], False
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                others = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                annotation = object if parameter.annotation is EMPTY else parameter.annotation
                shape = reader.of_field(annotation, parameter.default)
                schema = self.field(shape, parameter.default)
                if parameter.name in texts:
                    schema.setdefault("description", texts[parameter.name])
                properties[parameter.name] = schema
                if parameter.default is EMPTY:
                    required.append(parameter.name)
        body = {"type": "object", "properties": properties, "required": required}
        return body | {"additionalProperties": others}

    def field(self, shape: shapes.Shape, default: Any) -> dict[str, Any]:
        schema = dict(self.write(shape))
        try:
            if default is not EMPTY:
                text = json.dumps(default, default=encode, allow_nan=False)
                schema["default"] = json.loads(text)
        except (TypeError, ValueError, RecursionError):  # JSON cannot show it
            pass
        return schema

    def write(self, shape: shapes.Shape) -> dict[str, Any]:
        """The schema of a shape: by the method named as its class."""
        made: dict[str, Any] = getattr(self, f"_{type(shape).__name__.lower()}")(shape)
        return made

    def _shape(self, shape: shapes.Shape) -> dict[str, Any]:
        if not shape.unresolved:
            return {}
        text = f"annotated {shape.unresolved}, which cannot be resolved: any value is passed on"
        return {"description": text}

    def _scalar(self, shape: shapes.Scalar) -> dict[str, Any]:
        return dict(SCALARS[shape.cls.__name__])

    def _choice(self, shape: shapes.Choice) -> dict[str, Any]:
        choices = [given for given, _ in shape.choices]
        try:
            json.dumps(choices, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # such an Enum is given by its names
            choices = [member.name for _, member in shape.choices]
        if shape.cls is None:
            return {"enum": choices}
        return self._defined(shape.cls, lambda: {"title": shape.name, "enum": choices})

    def _array(self, shape: shapes.Array) -> dict[str, Any]:
        schema = {"type": "array", "items": self.write(shape.item)}
        return schema | ({"uniqueItems": True} if shape.make in (set, frozenset) else {})

    def _tuple(self, shape: shapes.Tuple) -> dict[str, Any]:
        return _tuple_schema([self.write(item) for item in shape.items], len(shape.items))

    def _mapping(self, shape: shapes.Mapping) -> dict[str, Any]:
        schema = {"type": "object", "additionalProperties": self.write(shape.value)}
        names = self._names(shape.key)
        return schema | ({"propertyNames": names} if names else {})

    def _names(self, key: shapes.Shape) -> dict[str, Any]:
        """The schema of a dict's keys, which are text in JSON even if they stand for numbers."""
        choices = getattr(key, "choices", None)
        if choices is not None:
            members = getattr(getattr(key, "cls", None), "__members__", ())
            return {"enum": list(dict.fromkeys([*(str(given) for given, _ in choices), *members]))}
        schema = self.write(key)
        return schema if schema.get("type") == "string" and len(schema) > 1 else {}

    def _union(self, shape: shapes.Union) -> dict[str, Any]:
        return {"anyOf": [self.write(member) for member in shape.members]}

    def _documented(self, shape: shapes.Documented) -> dict[str, Any]:
        return self.write(shape.inner) | {"description": shape.description}

    def _deferred(self, shape: shapes.Deferred) -> dict[str, Any]:
        """The type that a name stands for: written in place, or in `defs` if it contains itself."""
        name = shape.name
        if name in self.open:
            self.names[name] = self.names.get(name) or self._free(name)
            return self._ref(name)
        self.open.add(name)
        body = self.write(shape.inner)
        self.open.discard(name)
        if name not in self.names:
            return body
        self.defs[self.names[name]] = body
        return self._ref(name)

    def _record(self, shape: shapes.Record) -> dict[str, Any]:
        return self._defined(shape.cls, lambda: self._fields(shape))

    def _fields(self, shape: shapes.Record) -> dict[str, Any]:
        fields = {n: self.field(field.shape, field.default) for n, field in shape.fields.items()}
        required = [name for name, field in shape.fields.items() if field.required]
        about = {"title": shape.name} | _doc(shape.cls)
        if shape.is_tuple:
            return about | _tuple_schema(
                [{"title": n} | s for n, s in fields.items()], len(required)
            )
        body = {"type": "object", "properties": fields, "required": required}
        return about | body | {"additionalProperties": False}

    def _model(self, shape: shapes.Model) -> dict[str, Any]:
        schema: dict[str, Any] = shape.schema(mode=self.mode)
        self.defs |= schema.pop("$defs", {})
        return schema

    def _defined(self, key: Any, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A reference to what `write` returns; named first, because it may contain itself."""
        if key not in self.names:
            name = self.names[key] = self._free(key.__name__)
            self.defs[name] = {}
            self.defs[name] = write()
        return self._ref(key)

    def _ref(self, key: Any) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{self.names[key]}"}

    def _free(self, name: str) -> str:
        """A name like this one that is free in `defs`."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_") or "_"
        while name in self.defs or name in self.names.values():
            name += "_"
        return name


def _tuple_schema(items: list[dict[str, Any]], least: int) -> dict[str, Any]:
    schema = {"type": "array", "prefixItems": items, "minItems": least, "maxItems": len(items)}
    return {key: value for key, value in schema.items() if items or key != "prefixItems"}


def _doc(cls: Any) -> dict[str, str]:
    """The docstring of a class, unless Python has made it."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    return {"description": text} if text and not text.startswith(f"{cls.__name__}(") else {}


SPHINX = re.compile(r":(?:param|arg|argument|parameter)\s+(?:[^:]*\s)?\**(\w+)\s*:\s*(.*)")
HEADING = re.compile(r"(Args|Arguments|Parameters|Params|Keyword Args|Other Parameters):?")
ENTRY = re.compile(r"\**(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
UNDERLINE = re.compile(r"-{3,}")


def descriptions(function: Any) -> dict[str, str]:
    """The docstring's descriptions of arguments, in the style of Google, NumPy or Sphinx."""
    lines = inspect.cleandoc(getattr(function, "__doc__", None) or "").splitlines()
    found: dict[str, list[str]] = {}
    for name, text in [*_sphinx(lines), *_sections(lines)]:
        found.setdefault(name, []).append(text)
    return {name: " ".join(filter(None, texts)) for name, texts in found.items() if any(texts)}


def _sphinx(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Lines about each argument, from `:param name: text` and the lines indented below it."""
    name = ""
    for line in lines:
        found = SPHINX.match(line)
        name = found[1] if found else name if line[:1].isspace() else ""
        if name:
            yield name, found[2].strip() if found else line.strip()


def _sections(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Lines about each argument, from sections as Google and NumPy have them."""
    inside, name, depth, numpy = False, "", 0, False
    for line, following in zip(lines, [*lines[1:], ""]):  # noqa: B905 - came with Python 3.10
        indent = len(line) - len(line.lstrip())
        underlined = bool(UNDERLINE.fullmatch(following))
        if (not indent and line.endswith(":")) or underlined:
            inside, numpy, name = bool(HEADING.fullmatch(line)), underlined, ""
            depth = -1
        elif inside and line.strip() and not UNDERLINE.fullmatch(line):
            depth = indent if depth < 0 else depth
            if indent < depth:
                inside = False
            elif indent > depth:
                yield name, line.strip()
            else:
                found = ENTRY.fullmatch(line.strip())
                name = found[1] if found else line.strip().lstrip("*")
                yield name, found[2] if found and not numpy else ""
