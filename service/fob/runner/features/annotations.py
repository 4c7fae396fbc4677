"""Reads a function's annotations, to convert and check its arguments.

Loaded for annotations that the core does not know. One without meaning here, or with an unknown
name in it, accepts every value as it is.
"""

from __future__ import annotations

import contextlib
import enum
import json
import sys
import types
import typing
from collections import abc

from fob.runner.features import shapes
from fob.runner.features.converters import maker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NOTHING = type(None)
NATIVE = (int, float, bool, str, NOTHING)  # types that JSON has itself
UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))
WRAPPERS = ("Required", "NotRequired", "ReadOnly", "Final")  # also those of typing_extensions
ARRAYS = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Iterable: list,
    abc.Set: set,
    abc.MutableSet: set,
}
TABLES = (dict, abc.Mapping, abc.MutableMapping)


class Reader:
    """Reads the annotations of one function; `namespace` is where names are looked up."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        self._records: dict[Any, shapes.Record] = {}

    def converter(self, annotation: Any, where: str) -> Callable[[Any], Any]:
        """Return a function that converts a value to the annotated type, or raises `Unfit`.

        `where` names the argument in faults. Text from a query may be the only item of a list, or
        the JSON of a list or an object.
        """
        shape = self.read(annotation)

        def convert(value: Any) -> Any:
            try:
                return self._lenient(shape, value)
            except shapes.Unfit as unfit:
                raise shapes.Unfit(*(where + fault for fault in unfit.faults)) from None
            except RecursionError:
                raise shapes.Unfit(f"{where} is too deeply nested") from None

        return convert

    def _lenient(self, shape: shapes.Shape, value: Any) -> Any:
        try:
            return shape.convert(value)
        except shapes.Unfit:
            meant = _meant(value, shape.accepts) if isinstance(value, str) else value
            if meant is value:
                raise
        return shape.convert(meant)

    def read(self, annotation: Any) -> shapes.Shape:
        """The shape of an annotation; names are looked up when the shape is first used."""
        if isinstance(annotation, (str, typing.ForwardRef)):
            return self._named(annotation)
        if type(annotation).__name__ == "TypeAliasType":
            return shapes.Deferred(annotation.__name__, lambda: self.read(annotation.__value__))
        if hasattr(annotation, "__metadata__"):
            return self._annotated(annotation)
        inside = _inside(annotation)
        if inside is not None:
            return self.read(inside)
        origin = typing.get_origin(annotation) or annotation
        args = typing.get_args(annotation)
        if any(origin is union for union in UNIONS):
            return shapes.Union([self.read(member) for member in args])
        if origin is typing.Literal:
            return shapes.Choice("Literal", [(getattr(a, "value", a), a) for a in args])
        return self._class(NOTHING if origin is None else origin, args)

    def _named(self, annotation: Any) -> shapes.Shape:
        name = str(getattr(annotation, "__forward_arg__", annotation))

        def look_up() -> shapes.Shape:
            found = self._resolved(annotation)
            return shapes.Shape(unresolved=name) if found is None else self.read(found)

        return shapes.Deferred(name, look_up)

    def _resolved(self, annotation: Any) -> Any:
        """The annotation with its names replaced by what they mean; None if one is unknown."""
        holder = type("Holder", (), {"__annotations__": {"it": annotation}})
        try:
            hints = typing.get_type_hints(holder, self.namespace, include_extras=True)
        except Exception:  # noqa: BLE001 - the snippet's own text is evaluated
            return None
        return hints["it"]

    def _annotated(self, annotation: Any) -> shapes.Shape:
        notes = annotation.__metadata__
        inner = self.read(annotation.__origin__)
        if any(type(note).__module__.startswith(("pydantic", "annotated_types")) for note in notes):
            inner = self._adapted(annotation, inner)
        texts = [note for note in notes if isinstance(note, str)]
        return shapes.Documented(inner, texts[0]) if texts else inner

    def _adapted(self, annotation: Any, inner: shapes.Shape) -> shapes.Shape:
        """pydantic's own check of a type, if the snippet has imported pydantic."""
        pydantic = sys.modules.get("pydantic")
        if pydantic is None:
            return inner
        adapter = pydantic.TypeAdapter(annotation)
        return shapes.Model(
            inner.name, adapter.validate_python, adapter.json_schema, *inner.accepts
        )

    def _class(self, cls: Any, args: tuple[Any, ...]) -> shapes.Shape:
        """The shape of a class or a container; an unknown one accepts anything."""
        if not isinstance(cls, type):
            return shapes.Shape()
        made = maker(cls)
        if made:
            return shapes.Scalar(cls, *made, cls if cls in NATIVE else str)
        if cls in ARRAYS or cls in TABLES:
            return self._container(cls, args)
        if issubclass(cls, enum.Enum):
            return shapes.Choice(cls.__name__, [(member.value, member) for member in cls], cls)
        if hasattr(cls, "model_validate") and hasattr(cls, "model_json_schema"):
            return shapes.Model(cls.__name__, cls.model_validate, cls.model_json_schema)
        if hasattr(cls, "__get_pydantic_core_schema__"):
            return self._adapted(cls, shapes.Shape(cls.__name__))
        if not _has_fields(cls):
            return shapes.Shape(cls.__name__)
        if cls not in self._records:
            self._records[cls] = shapes.Record(self.fields, cls)
        return self._records[cls]

    def _container(self, cls: Any, args: tuple[Any, ...]) -> shapes.Shape:
        if cls in TABLES:
            return shapes.Mapping(*[self.read(arg) for arg in args or (str, typing.Any)])
        if cls is tuple and args and args[-1] is not Ellipsis:
            return shapes.Tuple([self.read(arg) for arg in args])
        return shapes.Array(ARRAYS[cls], self.read(args[0] if args else typing.Any))

    def fields(self, record: shapes.Record) -> dict[str, shapes.Field]:
        """The fields of a record, by name."""
        import inspect  # 10 ms, unless dataclasses has imported it

        cls, hints, empty = record.cls, self._hints(record.cls), inspect.Parameter.empty
        if record.is_dict:
            needed = [name for name in hints if _is_required(hints[name], name, cls)]
            return {k: shapes.Field(self.read(hints[k]), k in needed, empty) for k in hints}
        fields = {}
        for name, parameter in inspect.signature(cls).parameters.items():
            shape = self.of_field(hints.get(name, typing.Any), parameter.default)
            fields[name] = shapes.Field(shape, parameter.default is empty, parameter.default)
        return fields

    def of_field(self, annotation: Any, default: Any) -> shapes.Shape:
        """The shape of a field or argument; if its default is None, it accepts None too."""
        shape = self.read(annotation)
        accepts_any = type(getattr(shape, "inner", shape)) is shapes.Shape
        if default is not None or accepts_any or NOTHING in shape.accepts:
            return shape
        return shapes.Union([shape, self.read(None)])

    def _hints(self, cls: Any) -> dict[str, Any]:
        try:
            return typing.get_type_hints(cls, include_extras=True)
        except Exception:  # noqa: BLE001 - one name is unknown: use the others
            bases = reversed(cls.__mro__)
            return {k: v for b in bases for k, v in getattr(b, "__annotations__", {}).items()}


def _has_fields(cls: Any) -> bool:
    """True for dataclasses, named tuples and TypedDicts."""
    if tuple in cls.__mro__:
        return hasattr(cls, "_fields")
    return hasattr(cls, "__dataclass_fields__") or (
        dict in cls.__mro__ and hasattr(cls, "__total__")
    )


def _inside(annotation: Any) -> Any:
    """The type inside a NewType, an InitVar or a TypedDict's Required; None for others."""
    args = typing.get_args(annotation)
    if args and getattr(typing.get_origin(annotation), "_name", None) in WRAPPERS:
        return args[0]
    if type(annotation).__name__ == "InitVar":
        return annotation.type
    return getattr(annotation, "__supertype__", None)


def _is_required(hint: Any, name: str, cls: Any) -> bool:
    """Whether a TypedDict's key is required: by its own mark, otherwise by its class."""
    mark = getattr(typing.get_origin(hint), "_name", None)
    return mark == "Required" or (mark != "NotRequired" and name in cls.__required_keys__)


def _meant(text: str, accepts: tuple[type, ...]) -> Any:
    """The list or object that a text stands for if only such is accepted; otherwise the text."""
    if str in accepts or not (list in accepts or dict in accepts):
        return text
    found: Any = text
    if text.lstrip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            found = json.loads(text)
    return [found] if list in accepts and type(found) not in accepts else found
