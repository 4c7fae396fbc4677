"""The parameters of a function, and simple conversions of their values."""

from __future__ import annotations

from fob.runner.core.fields import unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

TRUTH = dict.fromkeys(("true", "1", "yes", "on"), True)
TRUTH.update(dict.fromkeys(("false", "0", "no", "off"), False))
MISSING = object()
POSITIONAL_ONLY, PLAIN, VAR_POSITIONAL, KEYWORD_ONLY, VAR_KEYWORD = range(5)  # as in inspect
CO_VARARGS, CO_VARKEYWORDS = 4, 8  # flags of a code object, as in inspect


def to_int(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and "_" not in value:
        return int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
        return int(value)
    raise ValueError


def to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    number = float(value)
    if not abs(number) < float("inf"):  # JSON has neither infinities nor NaN
        raise ValueError
    return number


def to_bool(value: Any) -> bool:
    return TRUTH[str(value).lower()]


def to_str(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    int: to_int,
    float: to_float,
    bool: to_bool,
    str: to_str,
}
# also by name: `from __future__ import annotations` leaves only that
CONVERTERS.update({kind.__name__: convert for kind, convert in list(CONVERTERS.items())})


class Parameter:
    """One parameter of a function; `kind` is one of inspect's numbers."""

    def __init__(self, name: str, kind: int, default: Any, annotation: Any) -> None:
        self.name, self.kind, self.default, self.annotation = name, kind, default, annotation
        # a conversion of the core's, and one that features/annotations.py has found
        self.simple = CONVERTERS.get(annotation) if isinstance(annotation, (type, str)) else None
        self.annotated: Callable[[Any], Any] | None = None
        self.accepts_object = False  # set with `annotated`

    def __str__(self) -> str:
        text = {VAR_POSITIONAL: "*", VAR_KEYWORD: "**"}.get(self.kind, "") + self.name
        if self.annotation is not MISSING:
            text += ": " + annotation_text(self.annotation)
        if self.default is not MISSING:
            text += f" = {self.default!r:.50}"
        return text

    def convert(self, value: Any) -> Any:
        """Convert `value` to the annotated type.

        Raises ValueError; its message begins where the parameter's name ends.
        """
        if value is None and self.default is None:
            return value
        if self.annotated:
            return self.annotated(value)
        if self.simple is None:
            return value
        try:
            return self.simple(value)
        except (ValueError, KeyError, OverflowError):
            kind = annotation_text(self.annotation)
            raise ValueError(f"={value!r:.80} is not {kind}") from None


def annotation_text(annotation: Any) -> str:
    """An annotation as it is written in the snippet."""
    text = str(annotation)
    if "[" in text or "|" in text:
        return text.replace("typing.", "").replace("snippet.", "")
    return str(getattr(annotation, "__name__", text))


def parameters_of(function: Any) -> list[Parameter]:
    """The parameters that a caller may name; of a decorated function, those it wraps."""
    plain = type(unquote)
    while type(function) is plain and "__wrapped__" in vars(function):
        function = vars(function)["__wrapped__"]
    if type(function) is plain:
        return list(_parameters_of_code(function))
    import inspect  # 10 ms, so only for classes, methods, partials and the like

    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-ins have none
        return [Parameter("arguments", VAR_KEYWORD, MISSING, MISSING)]
    blank = inspect.Parameter.empty

    def known(value: Any) -> Any:
        return MISSING if value is blank else value

    return [Parameter(p.name, int(p.kind), known(p.default), known(p.annotation)) for p in found]


def _parameters_of_code(function: Any) -> Iterator[Parameter]:
    code = function.__code__
    names, count, only = code.co_varnames, code.co_argcount, code.co_kwonlyargcount
    values = function.__defaults__ or ()
    last = names[count - len(values) : count]
    defaults = dict(zip(last, values))  # noqa: B905 - strict= came with Python 3.10
    defaults.update(function.__kwdefaults__ or {})
    kinds = [POSITIONAL_ONLY] * code.co_posonlyargcount
    kinds += [PLAIN] * (count - len(kinds)) + [KEYWORD_ONLY] * only
    kinds += [VAR_POSITIONAL] * bool(code.co_flags & CO_VARARGS)
    kinds += [VAR_KEYWORD] * bool(code.co_flags & CO_VARKEYWORDS)
    for name, kind in zip(names, kinds):  # noqa: B905 - as above
        note = function.__annotations__.get(name, MISSING)
        yield Parameter(name, kind, defaults.get(name, MISSING), note)
