"""Describes a function in JSON Schema (2020-12): what it takes, and what it gives.

A part of the runner, loaded when somebody asks for the description.
"""

from __future__ import annotations

import inspect
import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

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
    function: Any, raw: str, reader: Any, encode: Callable[[Any], Any]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The schema of the arguments, an object, and that of the result.

    The second is None when nothing is said of the result. `raw` names the argument that a body is
    as it comes, if there is one. `reader` is the function's `types.Reader`, `encode` is `values`'.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-ins have none
        return {"$schema": DIALECT, "type": "object"}, None
    takes = Writer(encode, "validation")
    body = takes.arguments(signature.parameters.values(), reader, said_of(function))
    if raw:
        body["properties"][raw]["contentMediaType"] = "application/octet-stream"
    if signature.return_annotation is EMPTY:
        return takes.whole(body), None
    gives = Writer(encode, "serialization")
    return takes.whole(body), gives.whole(gives.write(reader.read(signature.return_annotation)))


class Writer:
    """Writes shapes as one schema; classes go into its `$defs`, each once.

    `mode` is pydantic's word for the direction: validation or serialization.
    """

    def __init__(self, encode: Callable[[Any], Any], mode: str) -> None:
        self.encode, self.mode = encode, mode
        self.defs: dict[str, Any] = {}
        self.names: dict[Any, str] = {}  # of what has a place in `defs`
        self.open: set[str] = set()  # names of types that are being written

    def whole(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"$schema": DIALECT, **body} | ({"$defs": self.defs} if self.defs else {})

    def arguments(self, parameters: Any, reader: Any, said: dict[str, str]) -> dict[str, Any]:
        """The object of all arguments that a caller may give; `said` describes some by name."""
        properties, required, others = {}, [], False
        for parameter in parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                others = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                annotation = object if parameter.annotation is EMPTY else parameter.annotation
                shape = reader.of_field(annotation, parameter.default)
                schema = self.field(shape, parameter.default)
                if parameter.name in said:
                    schema.setdefault("description", said[parameter.name])
                properties[parameter.name] = schema
                if parameter.default is EMPTY:
                    required.append(parameter.name)
        body = {"type": "object", "properties": properties, "required": required}
        return body | {"additionalProperties": others}

    def field(self, shape: Any, default: Any) -> dict[str, Any]:
        schema = dict(self.write(shape))
        try:
            if default is not EMPTY:
                text = json.dumps(default, default=self.encode, allow_nan=False)
                schema["default"] = json.loads(text)
        except (TypeError, ValueError, RecursionError):  # JSON cannot show it
            pass
        return schema

    def write(self, shape: Any) -> dict[str, Any]:
        """The schema of a shape."""
        made: dict[str, Any] = getattr(self, f"_{type(shape).__name__.lower()}")(shape)
        return made

    def _shape(self, shape: Any) -> dict[str, Any]:
        if not shape.unresolved:
            return {}
        told = f"annotated {shape.unresolved}, which cannot be resolved: any value is passed on"
        return {"description": told}

    def _scalar(self, shape: Any) -> dict[str, Any]:
        return dict(SCALARS[shape.cls.__name__])

    def _choice(self, shape: Any) -> dict[str, Any]:
        choices = [given for given, _ in shape.choices]
        try:
            json.dumps(choices, allow_nan=False)
        except (TypeError, ValueError, RecursionError):  # such an Enum goes by its names
            choices = [member.name for _, member in shape.choices]
        if shape.cls is None:
            return {"enum": choices}
        return self._defined(shape.cls, lambda: {"title": shape.name, "enum": choices})

    def _items(self, shape: Any) -> dict[str, Any]:
        schema = {"type": "array", "items": self.write(shape.item)}
        return schema | ({"uniqueItems": True} if shape.make in (set, frozenset) else {})

    def _fixed(self, shape: Any) -> dict[str, Any]:
        return _tuple([self.write(item) for item in shape.items], len(shape.items))

    def _table(self, shape: Any) -> dict[str, Any]:
        schema = {"type": "object", "additionalProperties": self.write(shape.value)}
        names = self._names(shape.key)
        return schema | ({"propertyNames": names} if names else {})

    def _names(self, key: Any) -> dict[str, Any]:
        """The schema of a dict's keys, which are text in JSON even where they stand for numbers."""
        if type(key).__name__ == "Choice":
            members = getattr(key.cls, "__members__", ())
            return {
                "enum": list(dict.fromkeys([*(str(given) for given, _ in key.choices), *members]))
            }
        schema = self.write(key)
        return schema if schema.get("type") == "string" and len(schema) > 1 else {}

    def _either(self, shape: Any) -> dict[str, Any]:
        return {"anyOf": [self.write(member) for member in shape.members]}

    def _noted(self, shape: Any) -> dict[str, Any]:
        return self.write(shape.inner) | {"description": shape.description}

    def _later(self, shape: Any) -> dict[str, Any]:
        """What a name stands for: in its place, or in `defs` when it contains itself."""
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

    def _record(self, shape: Any) -> dict[str, Any]:
        return self._defined(shape.cls, lambda: self._fields(shape))

    def _fields(self, shape: Any) -> dict[str, Any]:
        fields = {n: self.field(field.shape, field.default) for n, field in shape.fields.items()}
        required = [name for name, field in shape.fields.items() if field.required]
        about = {"title": shape.name} | _doc(shape.cls)
        if shape.is_tuple:
            return about | _tuple([{"title": n} | s for n, s in fields.items()], len(required))
        body = {"type": "object", "properties": fields, "required": required}
        return about | body | {"additionalProperties": False}

    def _model(self, shape: Any) -> dict[str, Any]:
        schema: dict[str, Any] = shape.schema(mode=self.mode)
        self.defs |= schema.pop("$defs", {})
        return schema

    def _defined(self, key: Any, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A reference to what `write` gives; the name comes first, for it may contain itself."""
        if key not in self.names:
            name = self.names[key] = self._free(key.__name__)
            self.defs[name] = {}
            self.defs[name] = write()
        return self._ref(key)

    def _ref(self, key: Any) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{self.names[key]}"}

    def _free(self, name: str) -> str:
        """A name like this one that nothing in `defs` has yet."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_") or "_"
        while name in self.defs or name in self.names.values():
            name += "_"
        return name


def _tuple(items: list[dict[str, Any]], least: int) -> dict[str, Any]:
    schema = {"type": "array", "prefixItems": items, "minItems": least, "maxItems": len(items)}
    return {key: value for key, value in schema.items() if items or key != "prefixItems"}


def _doc(cls: Any) -> dict[str, str]:
    """What a class says of itself, unless the words are Python's own."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "")
    return {"description": text} if text and not text.startswith(f"{cls.__name__}(") else {}


# What a docstring says of the arguments

SPHINX = re.compile(r":(?:param|arg|argument|parameter)\s+(?:[^:]*\s)?\**(\w+)\s*:\s*(.*)")
HEADING = re.compile(r"(Args|Arguments|Parameters|Params|Keyword Args|Other Parameters):?")
ENTRY = re.compile(r"\**(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")
UNDERLINE = re.compile(r"-{3,}")


def said_of(function: Any) -> dict[str, str]:
    """What the docstring says of each argument: Google's, NumPy's or Sphinx's way."""
    lines = inspect.cleandoc(getattr(function, "__doc__", None) or "").splitlines()
    said: dict[str, list[str]] = {}
    for name, text in [*_sphinx(lines), *_sections(lines)]:
        said.setdefault(name, []).append(text)
    return {name: " ".join(filter(None, texts)) for name, texts in said.items() if any(texts)}


def _sphinx(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The pieces of text of each argument, in `:param name: text` and the lines indented below."""
    name = ""
    for line in lines:
        found = SPHINX.match(line)
        name = found[1] if found else name if line[:1].isspace() else ""
        if name:
            yield name, found[2].strip() if found else line.strip()


def _sections(lines: list[str]) -> Iterator[tuple[str, str]]:
    """The pieces of text of each argument in the sections of Google and NumPy."""
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
