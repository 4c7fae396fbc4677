"""Recognises the convention that a function follows, without running its file.

The rules are the runner's own (`runner/features/conventions.py`); this module reads from the syntax
tree what they look at. Where only a run can tell, the convention is unknown.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from fob.runner.core.names import APPLICATION_NAMES, ENTRY_NAMES
from fob.runner.features import conventions

_ASGI = ["scope", "receive", "send"]
_WSGI = ["environ", "start_response"]
# Classes and functions with which well-known frameworks create applications.
_MAKERS = {
    **dict.fromkeys(("FastAPI", "Starlette", "Quart", "Litestar", "get_asgi_application"), _ASGI),
    **dict.fromkeys(("Flask", "Bottle", "get_wsgi_application"), _WSGI),
}


@dataclass(frozen=True)
class Convention:
    """The name of a convention, `unknown` if only a run can tell, and why it applies."""

    name: str
    why: str


UNKNOWN = Convention("unknown", "only running the file can tell")


def recognise(
    statements: list[ast.stmt],
    bound: dict[str, ast.stmt],
    functions: tuple[str, ...],
    entry: str | None,
) -> Convention:
    """Return the convention of the callable that the runner would choose.

    `statements` run when the file is imported, `bound` maps the names it binds to the last
    statement that binds each, `functions` are its public functions, `entry` is the requested name.
    """
    bound = {name: node for name, node in bound.items() if not _is_data(name, node)}
    name = entry or _entry(statements, bound, functions)
    if name is None:
        return UNKNOWN
    if not name:
        return Convention("script", "the file defines no public function")
    parameters = _parameters(name.rpartition(":")[2], bound)
    if parameters is None:
        return UNKNOWN
    convention, why, _ = conventions.recognise(name, parameters, statements)
    return Convention(convention, why)


def _is_data(name: str, node: ast.stmt) -> bool:
    """Whether a statement binds `name` to a value that cannot be called."""
    literal = ast.Constant | ast.JoinedStr | ast.Dict | ast.List | ast.Tuple | ast.Set
    return isinstance(_value(name, node), literal)


def _value(name: str, node: ast.stmt) -> ast.expr | None:
    """Return the expression that a statement assigns to `name` itself, not to a tuple with it."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    assigned = any(isinstance(target, ast.Name) and target.id == name for target in targets)
    return node.value if assigned and isinstance(node, ast.Assign | ast.AnnAssign) else None


def _entry(
    statements: list[ast.stmt], bound: dict[str, ast.stmt], functions: tuple[str, ...]
) -> str | None:
    """Return the name that the runner would choose; "" for a script, None if unknown."""
    for name in APPLICATION_NAMES:
        parameters = _parameters(name, bound)
        if name in bound and (parameters is None or conventions.is_application(parameters)):
            return name if parameters else None
    known = [name for name in ENTRY_NAMES if name in bound]
    candidates = known or conventions.marked(statements, functions) or list(functions) or [""]
    return candidates[0]


def _parameters(path: str, bound: dict[str, ast.stmt]) -> list[str] | None:
    """Return the positional parameters of `name` or `Class.method`; None if unknown."""
    name, _, method = path.partition(".")
    node = bound.get(name)
    if isinstance(node, ast.ClassDef):
        return _of_method(node, method or "__call__")
    if node is None:
        return None
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _positional(node.args)
    value = _value(name, node)
    if isinstance(value, ast.Name):
        return _parameters(value.id, {n: node for n, node in bound.items() if n != name})
    if isinstance(value, ast.Lambda):
        return _positional(value.args)
    if isinstance(value, ast.Call):
        maker = conventions.dotted(value.func).rpartition(".")[2]
        return _of_instance(maker, method or "__call__", bound)
    return None


def _of_instance(maker: str, method: str, bound: dict[str, ast.stmt]) -> list[str] | None:
    """Return the parameters of a method of the object that `maker` creates; None if unknown."""
    node = bound.get(maker)
    if isinstance(node, ast.ClassDef):
        return _of_method(node, method)
    return _MAKERS.get(maker) if method == "__call__" else None


def _of_method(node: ast.ClassDef, name: str) -> list[str] | None:
    for method in _methods(node):
        if method.name == name:
            marks = {conventions.dotted(mark) for mark in method.decorator_list}
            return _positional(method.args)[0 if "staticmethod" in marks else 1 :]
    return None


def _methods(node: ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def _positional(arguments: ast.arguments) -> list[str]:
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
