"""Checks a snippet without running it: is it Python, and does it have a function to call?

The rules are the runner's. Where only a run can tell (an imported or assigned name, a decorated
function), the file is accepted and the runner decides.
"""

import ast
import io
import tokenize
import warnings
from dataclasses import dataclass

from fob.errors import BadRequest
from fob.runner.core.names import (
    APPLICATION_NAMES,
    ENTRY_NAMES,
    bound_by,
    public_functions,
    statements,
)
from fob.runner.features.conventions import marked
from fob.source import syntax
from fob.source.conventions import UNKNOWN, Convention, recognise

# Of one Python file: more cannot be packed into an app definition.
MAX_SNIPPET_BYTES = 256 * 1024


@dataclass(frozen=True)
class Source:
    """A file that can be registered: its public functions (a script has none) and convention."""

    functions: tuple[str, ...]
    convention: Convention = UNKNOWN


def check(body: bytes, entry: str | None = None) -> Source:
    """Read `body` as a Python file, without running it.

    `entry` is the value of `?entry=`. Raises `BadRequest` with the code `empty_body`,
    `not_text`, `syntax_error` (details: line, column, text) or `no_callable` (details: found).
    """
    if not body.strip():
        raise BadRequest("The body is empty: send a Python file", code="empty_body")
    tree = parse(body)
    if not tree.body:
        raise BadRequest("The file contains only comments: define a function", code="empty_body")
    nodes = list(statements(tree.body))
    binders = {name: node for node in nodes for name in bound_by(node)}
    functions = tuple(public_functions(nodes))
    source = Source(functions, recognise(nodes, binders, functions, entry))
    if "*" not in binders and "__getattr__" not in binders:
        _find_entry(tree, set(binders), source, entry)
    return source


def decode(body: bytes) -> str:
    """Decode a file by PEP 263: as UTF-8 unless a coding line says otherwise."""
    if b"\0" in body:
        raise BadRequest(
            "The body contains NUL bytes, so it is not a Python file"
            " (if it is UTF-16, save it as UTF-8)",
            code="not_text",
        )
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(body).readline)
        return body.decode(encoding)
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise _not_text(f"line {line} is not {error.encoding}") from error
    except (SyntaxError, LookupError) as error:
        raise _not_text(str(error)) from error


def _not_text(reason: str) -> BadRequest:
    return BadRequest(
        f"The body cannot be decoded: {reason}. Save it as UTF-8,"
        " or name its encoding in the first line, such as # -*- coding: latin-1 -*-",
        code="not_text",
    )


def parse(body: bytes) -> ast.Module:
    """Parse and compile, because some errors, such as a stray `return`, only show at compilation.

    Raises `BadRequest` with the code `not_text` or `syntax_error`.
    """
    decode(body)
    try:
        # The lock also protects catch_warnings, which changes state of the whole process.
        with syntax.LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(body, "snippet.py")
            compile(tree, "snippet.py", "exec", dont_inherit=True)
    except SyntaxError as error:
        raise _syntax_error(error) from error
    except (RecursionError, MemoryError, ValueError, OverflowError) as error:
        raise BadRequest(
            f"Python cannot compile the file: {error or 'it is nested too deeply'}",
            code="syntax_error",
        ) from error
    return tree


def _syntax_error(error: SyntaxError) -> BadRequest:
    where = f"line {error.lineno}, column {error.offset}"
    return BadRequest(
        f"The file has a syntax error at {where}: {error.msg}",
        code="syntax_error",
        details={
            "line": error.lineno,
            "column": error.offset,
            "text": (error.text or "").rstrip("\n")[:200],
        },
    )


def _find_entry(tree: ast.Module, names: set[str], source: Source, entry: str | None) -> None:
    """Raise `no_callable` if it is certain that the runner would find nothing to call.

    `names` are all names that the file binds.
    """
    if entry is not None:
        module, _, path = entry.rpartition(":")
        if not module and path.partition(".")[0] not in names:
            raise _no_callable(f"The file defines no {entry!r}", source)
        return
    if marked(list(statements(tree.body)), source.functions):
        return
    known = names.intersection((*ENTRY_NAMES, *APPLICATION_NAMES))
    if not known and len(_certain(tree.body)) > 1:
        raise _no_callable("The file defines several functions, and none has a known name", source)


def _no_callable(problem: str, source: Source) -> BadRequest:
    found = ", ".join(source.functions) or "no functions"
    known = ", ".join(ENTRY_NAMES)
    return BadRequest(
        f"{problem} (found: {found}). Name the one to call with ?entry=NAME,"
        f" or call it one of {known}",
        code="no_callable",
        details={"found": list(source.functions)},
    )


def _certain(body: list[ast.stmt]) -> set[str]:
    """Return the public functions that exist in any case: no decorator, no branch, not rebound."""
    undecorated = [node for node in body if not getattr(node, "decorator_list", ())]
    definitions = ast.FunctionDef | ast.AsyncFunctionDef
    others = (node for node in statements(body) if not isinstance(node, definitions))
    rebound = {name for node in others for name in bound_by(node)}
    return set(public_functions(undecorated)) - rebound
