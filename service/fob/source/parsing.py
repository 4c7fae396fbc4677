"""Checks a snippet without running it: is it Python, and does it have a function to call?

The rules are the runner's. Where only a run can tell (an imported or assigned name, a decorated
function), the file is accepted and the runner decides.
"""

import ast
import io
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fob.errors import BadRequest
from fob.parts.conventions import ENTRIES as WELL_KNOWN
from fob.parts.conventions import marked
from fob.source import syntax
from fob.source.conventions import APPLICATIONS, UNKNOWN, Convention, recognise

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
    functions = tuple(dict.fromkeys(_functions(tree.body)))
    statements = list(_statements(tree.body))
    source = Source(functions, recognise(statements, _binders(tree.body), functions, entry))
    _find_entry(tree, source, entry)
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


def _find_entry(tree: ast.Module, source: Source, entry: str | None) -> None:
    """Raise `no_callable` if it is certain that the runner would find nothing to call."""
    names = set(_binders(tree.body))
    if "*" in names or "__getattr__" in names:
        return
    if entry is not None:
        module, _, path = entry.rpartition(":")
        if not module and path.partition(".")[0] not in names:
            raise _no_callable(f"The file defines no {entry!r}", source)
        return
    if marked(list(_statements(tree.body)), source.functions):
        return
    known = names.intersection((*WELL_KNOWN, *APPLICATIONS))
    if not known and len(_certain(tree.body)) > 1:
        raise _no_callable("The file defines several functions, and none has a known name", source)


def _no_callable(problem: str, source: Source) -> BadRequest:
    found = ", ".join(source.functions) or "no functions"
    known = ", ".join(WELL_KNOWN)
    return BadRequest(
        f"{problem} (found: {found}). Name the one to call with ?entry=NAME,"
        f" or call it one of {known}",
        code="no_callable",
        details={"found": list(source.functions)},
    )


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run in the module's own scope: under if, try, with, for, match too."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.stmt):
                yield from _statements([child])
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                yield from _statements(child.body)


def _functions(body: Iterable[ast.stmt]) -> Iterator[str]:
    """The public functions the file may define."""
    for statement in _statements(body):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and _public(statement):
            yield statement.name


def _certain(body: list[ast.stmt]) -> set[str]:
    """The public functions that are there whatever happens: undecorated, in no branch, kept."""
    certain = {
        statement.name
        for statement in body
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        and not statement.decorator_list
        and _public(statement)
    }
    return certain - set(_rebound(body))


def _rebound(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Names bound or deleted by anything but a function definition."""
    for statement in _statements(body):
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _names(statement)


def _binders(body: Iterable[ast.stmt]) -> dict[str, ast.stmt]:
    """Every name the module may have, with the last statement that binds it; `*` when it imports
    everything from somewhere."""
    return {name: statement for statement in _statements(body) for name in _names(statement)}


def _names(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
    else:
        yield from _targets(statement)


def _targets(statement: ast.stmt) -> Iterator[str]:
    """Names a statement assigns or deletes; nested statements speak for themselves."""
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            continue
        for node in ast.walk(child):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                yield node.id


def _public(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return not function.name.startswith("_")
