"""Which convention a function follows: one ordered table, for the runner and the dispatcher.

The first rule that fits decides. If none fits, the function is plain: its parameters are its
arguments. So each rule asks for names that are unusual for such.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from fob.runner.core.function import Function

ANY = "*"
FLASK = ("flask", "functions_framework")

# convention, its adapter, the function's name (or any), its positional parameters (or any),
# decorators or imported modules of which the file has one (or none needed), the platform
RULES = (
    ("cloudevent", "google", ANY, ANY, ("functions_framework.cloud_event",), "Google's functions"),
    ("google", "google", ANY, ANY, ("functions_framework.http",), "Google's functions"),
    ("google", "google", ANY, ("request",), FLASK, "Google's functions"),
    ("asgi", "asgi", ANY, ("scope", "receive", "send"), (), "ASGI applications"),
    ("wsgi", "wsgi", ANY, (ANY, "start_response"), (), "WSGI applications"),
    ("nuclio", "nuclio", ANY, ("context", "event"), (), "Nuclio"),
    ("openfaas", "openfaas", "handle", ("event", "context"), (), "OpenFaaS"),
    ("openfaas-classic", "openfaas", "handle", ("req",), (), "OpenFaaS's classic template"),
    ("aws", "aws", ANY, ("event", "context"), (), "AWS Lambda"),
    ("aws", "aws", ANY, ("event", ""), (), "AWS Lambda"),
    ("aws", "aws", "lambda_handler", (ANY, ANY), (), "AWS Lambda"),
    ("openwhisk", "openwhisk", "main", ("args",), (), "OpenWhisk"),
    ("openwhisk", "openwhisk", "main", ("params",), (), "OpenWhisk"),
    ("openwhisk", "openwhisk", "main", ("dict",), (), "OpenWhisk"),
    ("event", "event", ANY, ("event",), (), "SeBS and OpenLambda"),
)
PLAIN = ("plain", "its parameters are its arguments", "")


def recognise(name: str, parameters: list[str], statements: list[Any]) -> tuple[str, str, str]:
    """Convention, the reason in words, and its adapter ("" for a plain function).

    `parameters` are the names of the positional ones, `statements` what runs when the file does.
    """
    name = name.rpartition(":")[2].rpartition(".")[2]
    bare = [parameter.strip("_") for parameter in parameters]
    found = {*imports(statements), *marks(statements, name)}
    for convention, adapter, called, expected, any_of, platform in RULES:
        reason = found.intersection(any_of)
        if called in (ANY, name) and _fit(expected, bare) and (reason or not any_of):
            return convention, _why(name, parameters, sorted(reason), platform), adapter
    if name in {rule[2] for rule in RULES if rule[2] != "main"} | {"app", "application"}:
        return (PLAIN[0], _misfit(name, parameters), PLAIN[2])
    return PLAIN


def _fit(expected: Any, parameters: list[str]) -> bool:
    return expected == ANY or (
        len(expected) == len(parameters)
        and all(each in (ANY, name) for each, name in zip(expected, parameters))  # noqa: B905 - 3.9
    )


def _why(name: str, parameters: list[str], reason: list[str], platform: str) -> str:
    because = f", with {reason[0]}," if reason else ""
    return f"{name}({', '.join(parameters)}){because} has the signature of {platform}"


def _misfit(name: str, parameters: list[str]) -> str:
    """What rules expect of a function that has a platform's name and other parameters."""
    looked = [
        f"{name}({', '.join(p if p != ANY else '...' for p in rule[3])}) of {rule[5]}"
        for rule in RULES
        if rule[3] != ANY and rule[2] in (ANY, name) and not rule[4] and "" not in rule[3]
    ]
    found = f"{name}({', '.join(parameters)})"
    return f"its parameters are its arguments; {found} is none of {', '.join(looked)}"


def is_application(parameters: list[str]) -> bool:
    """Whether something with these positional parameters is an ASGI or WSGI application."""
    return parameters == ["scope", "receive", "send"] or (
        len(parameters) == 2 and parameters[1] == "start_response"
    )


def marked(statements: list[Any], functions: Iterable[str]) -> list[str]:
    """The function that is decorated for the functions framework; none if there are several."""
    found = [
        name
        for name in functions
        if any(mark.startswith("functions_framework.") for mark in marks(statements, name))
    ]
    return found if len(found) == 1 else []


def imports(statements: list[Any]) -> Iterator[str]:
    """The top-level packages that a file imports.

    Nodes are known by the names of their types, because importing ast takes 10 ms.
    """
    for node in statements:
        kind = type(node).__name__
        if kind == "Import":
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif kind == "ImportFrom":
            yield (node.module or "").partition(".")[0]


def marks(statements: list[Any], name: str) -> Iterator[str]:
    """The decorators of the function `name`, as `module.name`."""
    for node in statements:
        if getattr(node, "name", None) == name:
            yield from map(dotted, getattr(node, "decorator_list", ()))


def dotted(node: Any) -> str:
    """`a.b` of the expression `a.b` or `a.b(...)`."""
    node = getattr(node, "func", node)
    before = dotted(node.value) + "." if hasattr(node, "attr") else ""
    return before + str(getattr(node, "attr", getattr(node, "id", "")))


def resolve(names: dict[str, Any], entry: str) -> Any:
    """What `name`, `Class.method` or `module:name` is in a file that defines `names`, or None.

    A module is imported only if the file has no such name.
    """
    module, _, path = entry.rpartition(":")
    first, *rest = path.split(".")
    if module and first not in names:
        import importlib

        names = vars(importlib.import_module(module))
    value = names.get(first)
    for name in rest:
        if isinstance(value, type) and type(_member(value, name)) is type(resolve):
            value = value()
        value = getattr(value, name, None)
    return value


def _member(kind: type, name: str) -> Any:
    """What a class or one of its bases defines under a name, unbound."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


def instance(kind: type) -> Any:
    """An instance of a class if instances can be called, otherwise the class itself."""
    return kind if _member(kind, "__call__") is None else kind()


def describe(function: Function) -> dict[str, Any]:
    """The content of the response to `OPTIONS *`."""
    return {
        "entry": function.name,
        "convention": function.convention,
        "why": function.why,
        "signature": str(function.signature),
        "doc": getattr(function.target, "__doc__", None) if function.name else None,
        "parameters": {},
        "returns": None,
    }
