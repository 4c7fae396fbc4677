"""Types are the contract: reads a function's annotations, to convert and check its arguments.

A part of the runner, loaded for annotations that its core does not know. One that means nothing
here, or that cannot be resolved, lets every value pass as it is.
"""

from __future__ import annotations

import contextlib
import enum
import json
import sys
import types
import typing
from collections import abc

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
    """Reads the annotations of one function.

    `namespace` is where names in them are looked up, `shapes` the part of that name, and `maker`
    tells for a class how its values are read, as `values.makers` gives it.
    """

    def __init__(self, namespace: dict[str, Any], maker: Callable[[Any], Any], shapes: Any) -> None:
        self.namespace, self.maker, self.shapes = namespace, maker, shapes
        self._records: dict[Any, Any] = {}

    def converter(self, annotation: Any, where: str) -> Callable[[Any], Any]:
        """A function that gives a value as `annotation` wants it, or raises `shapes.Unfit`.

        `where` names the argument in faults. Text of a query may stand for a list's only item, or
        be the JSON of a list or an object.
        """
        shape, unfit_error = self.read(annotation), self.shapes.Unfit

        def convert(value: Any) -> Any:
            try:
                return self._lenient(shape, value)
            except unfit_error as unfit:
                raise unfit_error(*(where + fault for fault in unfit.faults)) from None
            except RecursionError:
                raise unfit_error(f"{where} is too deeply nested") from None

        return convert

    def _lenient(self, shape: Any, value: Any) -> Any:
        try:
            return shape.convert(value)
        except self.shapes.Unfit:
            meant = _meant(value, shape.takes) if isinstance(value, str) else value
            if meant is value:
                raise
        return shape.convert(meant)

    def read(self, annotation: Any) -> Any:
        """The shape of an annotation; names are looked up when the shape is first used."""
        if isinstance(annotation, (str, typing.ForwardRef)):
            return self._named(annotation)
        if type(annotation).__name__ == "TypeAliasType":
            return self.shapes.Later(annotation.__name__, lambda: self.read(annotation.__value__))
        if hasattr(annotation, "__metadata__"):
            return self._annotated(annotation)
        inside = _inside(annotation)
        if inside is not None:
            return self.read(inside)
        origin = typing.get_origin(annotation) or annotation
        args = typing.get_args(annotation)
        if any(origin is union for union in UNIONS):
            return self.shapes.Either([self.read(member) for member in args])
        if origin is typing.Literal:
            return self.shapes.Choice("Literal", [(getattr(a, "value", a), a) for a in args])
        return self._class(NOTHING if origin is None else origin, args)

    def _named(self, annotation: Any) -> Any:
        name = str(getattr(annotation, "__forward_arg__", annotation))

        def look_up() -> Any:
            found = self._resolved(annotation)
            return self.shapes.Shape(unresolved=name) if found is None else self.read(found)

        return self.shapes.Later(name, look_up)

    def _resolved(self, annotation: Any) -> Any:
        """What the names in an annotation stand for; None when nobody knows."""
        holder = type("Holder", (), {"__annotations__": {"it": annotation}})
        try:
            hints = typing.get_type_hints(holder, self.namespace, include_extras=True)
        except Exception:  # noqa: BLE001 - the snippet's own text is evaluated
            return None
        return hints["it"]

    def _annotated(self, annotation: Any) -> Any:
        notes = annotation.__metadata__
        inner = self.read(annotation.__origin__)
        if any(type(note).__module__.startswith(("pydantic", "annotated_types")) for note in notes):
            inner = self._adapted(annotation, inner)
        said = [note for note in notes if isinstance(note, str)]
        return self.shapes.Noted(inner, said[0]) if said else inner

    def _adapted(self, annotation: Any, inner: Any) -> Any:
        """pydantic's own check of a type, when the snippet has imported pydantic."""
        pydantic = sys.modules.get("pydantic")
        if pydantic is None:
            return inner
        adapter = pydantic.TypeAdapter(annotation)
        return self.shapes.Model(
            inner.name, adapter.validate_python, adapter.json_schema, *inner.takes
        )

    def _class(self, cls: Any, args: tuple[Any, ...]) -> Any:
        """The shape of a class or a container; one that is unknown takes what it gets."""
        if not isinstance(cls, type):
            return self.shapes.Shape()
        made = self.maker(cls)
        if made:
            return self.shapes.Scalar(cls, *made, cls if cls in NATIVE else str)
        if cls in ARRAYS or cls in TABLES:
            return self._container(cls, args)
        if issubclass(cls, enum.Enum):
            return self.shapes.Choice(cls.__name__, [(member.value, member) for member in cls], cls)
        if hasattr(cls, "model_validate") and hasattr(cls, "model_json_schema"):
            return self.shapes.Model(cls.__name__, cls.model_validate, cls.model_json_schema)
        if hasattr(cls, "__get_pydantic_core_schema__"):
            return self._adapted(cls, self.shapes.Shape(cls.__name__))
        if not _has_fields(cls):
            return self.shapes.Shape(cls.__name__)
        if cls not in self._records:
            self._records[cls] = self.shapes.Record(self.fields, cls)
        return self._records[cls]

    def _container(self, cls: Any, args: tuple[Any, ...]) -> Any:
        if cls in TABLES:
            return self.shapes.Table(*[self.read(arg) for arg in args or (str, typing.Any)])
        if cls is tuple and args and args[-1] is not Ellipsis:
            return self.shapes.Fixed([self.read(arg) for arg in args])
        return self.shapes.Items(ARRAYS[cls], self.read(args[0] if args else typing.Any))

    def fields(self, record: Any) -> dict[str, Any]:
        """The fields of a record, by name."""
        import inspect  # 10 ms, unless dataclasses has imported it

        cls, hints, empty = record.cls, self._hints(record.cls), inspect.Parameter.empty
        if record.is_dict:
            needed = [name for name in hints if _is_required(hints[name], name, cls)]
            return {k: self.shapes.Field(self.read(hints[k]), k in needed, empty) for k in hints}
        fields = {}
        for name, parameter in inspect.signature(cls).parameters.items():
            shape = self.of_field(hints.get(name, typing.Any), parameter.default)
            fields[name] = self.shapes.Field(shape, parameter.default is empty, parameter.default)
        return fields

    def of_field(self, annotation: Any, default: Any) -> Any:
        """The shape of a field or argument; a None by default may also be given as one."""
        shape = self.read(annotation)
        takes_any = type(getattr(shape, "inner", shape)) is self.shapes.Shape
        if default is not None or takes_any or NOTHING in shape.takes:
            return shape
        return self.shapes.Either([shape, self.read(None)])

    def _hints(self, cls: Any) -> dict[str, Any]:
        try:
            return typing.get_type_hints(cls, include_extras=True)
        except Exception:  # noqa: BLE001 - a name in it is not known: the others are
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
    """What a NewType, an InitVar or a TypedDict's Required stands for; None for all others."""
    args = typing.get_args(annotation)
    if args and getattr(typing.get_origin(annotation), "_name", None) in WRAPPERS:
        return args[0]
    if type(annotation).__name__ == "InitVar":
        return annotation.type
    return getattr(annotation, "__supertype__", None)


def _is_required(hint: Any, name: str, cls: Any) -> bool:
    """Whether a TypedDict's key must be there: by its own mark, else as its class says."""
    mark = getattr(typing.get_origin(hint), "_name", None)
    return mark == "Required" or (mark != "NotRequired" and name in cls.__required_keys__)


def _meant(text: str, takes: tuple[type, ...]) -> Any:
    """The list or object that a text stands for where one is wanted, else the text."""
    if str in takes or not (list in takes or dict in takes):
        return text
    found: Any = text
    if text.lstrip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            found = json.loads(text)
    return [found] if list in takes and type(found) not in takes else found
