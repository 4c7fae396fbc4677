"""The runner as it travels inside an app: with its parts, and without what only people read.

An app has little room, and what is not sent need not be compiled at a cold start either.
"""

import ast
import functools
import re
from pathlib import Path

from fob.source import syntax

PARTS_LINE = "PARTS: dict[str, str] = {}"

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_INDENT = re.compile(r"^(?: {4})+", re.MULTILINE)


@functools.cache
def bundle(runner: Path, parts: Path) -> bytes:
    """The runner's source with that of its parts in the line that is there for them."""
    sources = {file.stem: slim(file.read_text()) for file in sorted(parts.glob("[!_]*.py"))}
    literal = ",".join(f"{name!r}:{_quoted(source)}" for name, source in sources.items())
    line = f"{PARTS_LINE[:-2]}{{{literal}}}"
    return slim(runner.read_text()).replace(PARTS_LINE, line).encode()


def _quoted(text: str) -> str:
    """A literal of `text` and a line end, with few escapes: so it packs better than its repr."""
    escaped = text.replace("\\", "\\\\").replace("'''", "''\\'")
    return f"'''{escaped}\n'''"


def slim(source: str) -> str:
    """Python source that does the same, without comments, docstrings, types and deep indents."""
    with syntax.LOCK:
        tree = _Slimmer().visit(ast.parse(source))
        long = ast.unparse(ast.fix_missing_locations(tree))
    if '"""' in long or "'''" in long:  # a text over several lines may not be touched
        return long
    return _INDENT.sub(lambda match: " " * (len(match[0]) // 4), long)


class _Slimmer(ast.NodeTransformer):
    """Takes out what has no effect when the code runs."""

    def __init__(self) -> None:
        self._in_function = False

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        before, self._in_function = self._in_function, False
        self._without_docstring(node)
        self._in_function = before
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._visit_function(node)

    def _visit_function(self, node: _Function) -> ast.AST:
        before, self._in_function = self._in_function, True
        node.returns = None
        self._without_docstring(node)
        self._in_function = before
        return node

    def _without_docstring(self, node: ast.Module | ast.ClassDef | _Function) -> ast.AST:
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            del node.body[0]
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        """In functions: elsewhere somebody may look at the types."""
        if not self._in_function:
            return node
        return ast.Assign([node.target], node.value) if node.value else None

    def visit_If(self, node: ast.If) -> ast.AST | None:
        checked = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if checked else self.generic_visit(node)
