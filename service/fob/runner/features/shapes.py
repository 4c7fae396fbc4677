"""Shapes: what annotations accept, and how values are converted to fit.

annotations.py reads annotations into shapes. A value that does not fit raises `Unfit` with all its
faults.
"""

from __future__ import annotations

import typing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

MAX_FAULTS = 100  # of one argument
MAX_SHOWN = 80  # characters of a value in a fault
NOTHING = type(None)


class Unfit(ValueError):
    """A value that does not fit its annotation; `faults` has a sentence for each reason."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = list(faults)


class Shape:
    """What an annotation accepts; this one accepts anything.

    `name` is for people; `accepts` are the types of JSON values that fit without conversion;
    `unresolved` is the text of an annotation that could not be resolved.
    """

    accepts: tuple[type, ...] = ()

    def __init__(self, name: str = "anything", unresolved: str = "") -> None:
        self.name, self.unresolved = name, unresolved

    def convert(self, value: Any) -> Any:
        """Convert a value. Raises `Unfit`; each fault starts where the value's name ends."""
        return value

    def unfit(self, value: Any) -> Unfit:
        return Unfit(f"={show(value)} is not {self.name}")


class Scalar(Shape):
    """One value, made by a function that raises an error if it cannot."""

    def __init__(self, cls: Any, name: str, make: Callable[[Any], Any], accepts: type) -> None:
        super().__init__(name)
        self.cls, self.make, self.accepts = cls, make, (accepts,)

    def convert(self, value: Any) -> Any:
        try:
            return self.make(value)
        except (ValueError, TypeError, LookupError, ArithmeticError):
            raise self.unfit(value) from None


class Choice(Shape):
    """A Literal or an Enum: `choices` are pairs of a JSON value and what the function gets."""

    def __init__(self, name: str, choices: list[tuple[Any, Any]], cls: Any = None) -> None:
        super().__init__(name)
        self.choices, self.cls = choices, cls
        self.accepts = tuple({type(given) for given, _ in choices})

    def convert(self, value: Any) -> Any:
        for given, meant in self.choices:
            if given == value and isinstance(given, bool) == isinstance(value, bool):
                return meant
        if isinstance(value, str) and value in getattr(self.cls, "__members__", ()):
            return self.cls[value]
        for given, meant in self.choices if isinstance(value, str) else ():
            if not isinstance(given, str) and str(given).lower() == value.lower():
                return meant
        return self._missing(value)

    def _missing(self, value: Any) -> Any:
        """Let the Enum itself convert it: combined flags, its own `_missing_`."""
        try:
            if self.cls and not isinstance(value, bool):
                return self.cls(value)
        except (ValueError, TypeError):
            pass
        named = ", ".join(show(given) for given, _ in self.choices[:20])
        raise Unfit(f"={show(value)} is not one of {named}")


class Array(Shape):
    """A list, set or tuple of any length."""

    accepts: tuple[type, ...] = (list,)

    def __init__(self, make: Callable[[Any], Any], item: Shape) -> None:
        super().__init__(f"{make.__name__}[{item.name}]")
        self.make, self.item = make, item

    def convert(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise self.unfit(value)
        done = gather("[%d]", ((at, self.item, item) for at, item in enumerate(value)))
        try:
            return self.make(done)
        except TypeError as error:
            raise Unfit(f": {error}") from None  # a set of unhashable items


class Tuple(Shape):
    """A tuple with a type for each of its items."""

    accepts: tuple[type, ...] = (list,)

    def __init__(self, items: list[Shape]) -> None:
        super().__init__(f"tuple[{', '.join(item.name for item in items)}]")
        self.items = items

    def convert(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise self.unfit(value)
        if len(value) != len(self.items):
            raise Unfit(f" has {len(value)} items, and {self.name} has {len(self.items)}")
        return tuple(gather("[%d]", zip(range(len(value)), self.items, value)))  # noqa: B905


class Mapping(Shape):
    """A dict, whose keys are text in JSON."""

    accepts: tuple[type, ...] = (dict,)

    def __init__(self, key: Shape, value: Shape) -> None:
        super().__init__(f"dict[{key.name}, {value.name}]")
        self.key, self.value = key, value

    def convert(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise self.unfit(value)
        keys = gather(": the key", ((None, self.key, key) for key in value))
        values = gather("[%r]", ((key, self.value, item) for key, item in value.items()))
        return dict(zip(keys, values))  # noqa: B905 - strict= came with Python 3.10


class Union(Shape):
    """A union: members that accept the value's JSON type are tried first, then all in order."""

    def __init__(self, members: list[Shape]) -> None:
        super().__init__(" or ".join(member.name for member in members))
        self.members = members

    @property
    def accepts(self) -> tuple[type, ...]:  # type: ignore[override]
        return tuple(kind for member in self.members for kind in member.accepts)

    def convert(self, value: Any) -> Any:
        exact = [member for member in self.members if type(value) in member.accepts]
        for member in exact + [member for member in self.members if member not in exact]:
            try:
                return member.convert(value)
            except Unfit as unfit:
                last = unfit
        kinds = exact or [member for member in self.members if NOTHING not in member.accepts]
        if len(kinds) == 1:  # it must have been meant, and its faults say more
            kinds[0].convert(value)
        raise self.unfit(value) from last


class Field(typing.NamedTuple):
    """One field of a record; `default` is `inspect.Parameter.empty` if it has none to show."""

    shape: Shape
    required: bool
    default: Any


class Record(Shape):
    """A dataclass, TypedDict or NamedTuple: an object in JSON; a NamedTuple may be a list.

    Its fields are read on first use, since it may contain itself.
    """

    def __init__(self, read: Callable[[Record], dict[str, Field]], cls: Any) -> None:
        super().__init__(cls.__name__)
        self.cls, self._read = cls, read
        self.is_tuple = tuple in cls.__mro__
        self.is_dict = dict in cls.__mro__
        self.accepts = (dict, list) if self.is_tuple else (dict,)
        self._fields: dict[str, Field] | None = None

    @property
    def fields(self) -> dict[str, Field]:
        if self._fields is None:
            self._fields = self._read(self)
        return self._fields

    def convert(self, value: Any) -> Any:
        fields = self.fields
        if self.is_tuple and isinstance(value, list) and len(value) <= len(fields):
            value = dict(zip(fields, value))  # noqa: B905 - the others have defaults, or are missing
        if not isinstance(value, dict):
            raise self.unfit(value)
        faults = [f".{name} is not a field of {self.name}" for name in value if name not in fields]
        needed = [name for name, field in fields.items() if field.required]
        faults += [f".{name} is missing" for name in needed if name not in value]
        given = [(name, fields[name].shape, value[name]) for name in fields if name in value]
        done = gather(".%s", given, faults)
        return self._make({name: made for (name, _, _), made in zip(given, done)})  # noqa: B905

    def _make(self, values: dict[str, Any]) -> Any:
        try:
            return values if self.is_dict else self.cls(**values)
        except (ValueError, TypeError) as error:  # its own __post_init__ rejects it
            raise Unfit(*faults_of(error)) from None


class Model(Shape):
    """A type that pydantic checks: a model, or one with pydantic's constraints."""

    accepts: tuple[type, ...] = (dict,)

    def __init__(self, name: str, validate: Any, schema: Any, *accepts: type) -> None:
        super().__init__(name)
        self.validate, self.schema = validate, schema
        self.accepts = accepts or self.accepts

    def convert(self, value: Any) -> Any:
        try:
            return self.validate(value)
        except ValueError as error:
            raise Unfit(*faults_of(error)) from None


class Documented(Shape):
    """A shape with a description, from Annotated."""

    def __init__(self, inner: Shape, description: str) -> None:
        super().__init__(inner.name)
        self.inner, self.description = inner, description
        self.convert = inner.convert  # type: ignore[method-assign]

    @property
    def accepts(self) -> tuple[type, ...]:  # type: ignore[override]
        return self.inner.accepts


class Deferred(Shape):
    """A name, looked up on first use: it may stand for a type that contains it."""

    def __init__(self, name: str, read: Callable[[], Shape]) -> None:
        super().__init__(name)
        self._read = read
        self._inner: Shape | None = None

    @property
    def inner(self) -> Shape:
        if self._inner is None:
            self._inner = self._read()
        return self._inner

    @property
    def accepts(self) -> tuple[type, ...]:  # type: ignore[override]
        return self.inner.accepts

    def convert(self, value: Any) -> Any:
        return self.inner.convert(value)


def gather(
    path: str, parts: Iterable[tuple[Any, Shape, Any]], faults: Iterable[str] = ()
) -> list[Any]:
    """Convert the values of (key, shape, value) triples. Raises `Unfit` with all their faults.

    `path` formats a key in faults; `faults` are previous ones.
    """
    done, faults = [], list(faults)
    for key, shape, value in parts:
        try:
            done.append(shape.convert(value))
        except Unfit as unfit:
            at = path if key is None else path % (key,)
            faults += [at + fault for fault in unfit.faults]
            if len(faults) >= MAX_FAULTS:
                break
    if faults:
        raise Unfit(*faults[:MAX_FAULTS])
    return done


def show(value: Any) -> str:
    try:
        return f"{value!r:.{MAX_SHOWN}}"
    except (RecursionError, ValueError):  # nested too deeply; a number with too many digits
        return f"a {type(value).__name__}"


def faults_of(error: Exception) -> list[str]:
    """The faults found by a class's own check; pydantic reports several."""
    errors = getattr(error, "errors", None)
    if not callable(errors):
        return [f": {error}"]
    steps = [f"{''.join(map(_step, fault['loc']))}: {fault['msg']}" for fault in errors()]
    return steps[:MAX_FAULTS]


def _step(key: Any) -> str:
    return f"[{key}]" if isinstance(key, int) else f".{key}"
