"""Python source without what only people read.

An app has little room, and what is not sent need not be compiled at a cold start either. This works
with tokens and their positions: the output of ast.unparse differs between versions of Python.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable, Iterator
from typing import Optional, Union

Import = Union[ast.Import, ast.ImportFrom]  # noqa: UP007 - it is read by Python 3.9
Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]  # noqa: UP007
Replace = Callable[[Import], Optional["list[str]"]]


def slim(source: str, linked: Replace = lambda node: None) -> str:
    """Source that does the same, without comments, docstrings, types, spaces and deep indents.

    `linked` returns the statements that replace an import, None if it stays.
    """
    slimmer = Slimmer(source, linked)
    slimmer.visit(ast.parse(source))
    return minify(slimmer.edited())


class Slimmer(ast.NodeVisitor):
    """Finds what has no effect when the code runs."""

    def __init__(self, source: str, linked: Replace) -> None:
        self._source, self._linked = source, linked
        self._lines = [0]  # the offset of each
        for line in source.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))
        self._edits: list[tuple[int, int, str]] = []  # from, to, and what is put there
        self._in_class = False

    def edited(self) -> str:
        source = self._source
        for start, end, text in sorted(self._edits, reverse=True):
            source = source[:start] + text + source[end:]
        return source

    def _start(self, node: ast.stmt | ast.expr | ast.arg) -> int:
        return self._lines[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.stmt | ast.expr | ast.arg) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._lines[node.end_lineno - 1] + node.end_col_offset

    def _replace(self, node: ast.stmt, text: str = "") -> None:
        self._edits.append((self._start(node), self._end(node), text))

    def visit_Module(self, node: ast.Module) -> None:
        self._visit_body(node, in_class=False)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_body(node, in_class=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_function(node)

    def _visit_function(self, node: Function) -> None:
        if node.returns:
            arrow = self._source.rindex("->", 0, self._start(node.returns))
            self._edits.append((arrow, self._end(node.returns), ""))
        self._visit_body(node, in_class=False)

    def _visit_body(self, node: ast.Module | ast.ClassDef | Function, in_class: bool) -> None:
        before, self._in_class = self._in_class, in_class
        first, *others = node.body
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            self._replace(first, "" if others or isinstance(node, ast.Module) else "pass")
        returns = getattr(node, "returns", None)
        for child in ast.iter_child_nodes(node):
            if child is not returns:
                self.visit(child)
        self._in_class = before

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation:
            start = self._start(node) + len(node.arg)
            self._edits.append((start, self._end(node.annotation), ""))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._in_class:  # a NamedTuple, for one, reads them
            return
        if node.value:
            self._edits.append((self._end(node.target), self._end(node.annotation), ""))
            self.visit(node.value)
        else:
            self._replace(node)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            self._replace(node)
        else:
            self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id == "TYPE_CHECKING":
            self._replace(node)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self._visit_import(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._visit_import(node)

    def _visit_import(self, node: Import) -> None:
        statements = self._linked(node)
        if statements is not None:
            self._replace(node, ";".join(statements))


def minify(source: str) -> str:
    """Source with the same tokens, and no more between them than they need."""
    text, line, depth = [], "", 0
    last = None  # the token before, on the same line
    for token in _tokens(source):
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        elif token.type == tokenize.NEWLINE:
            text.append(line)
            line, last = "", None
        elif token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER):
            if last is None:
                line = " " * depth
            elif _apart(last, token):
                line += " "
            line += token.string
            last = token
    return "\n".join(text)


def _apart(last: tokenize.TokenInfo, token: tokenize.TokenInfo) -> bool:
    """Whether two tokens would become others, or no good ones, with nothing between them."""
    words = (tokenize.NAME, tokenize.NUMBER)
    if last.type in words and token.type in words:
        return True
    if last.type == tokenize.NAME and token.type == tokenize.STRING:
        return token.string[0] not in "\"'"  # a prefix
    if last.type == tokenize.STRING and token.type == tokenize.STRING:
        return True
    return last.type == tokenize.NUMBER and token.string.startswith(".")


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens of `source`, each f-string as one: from Python 3.12 on tokenize splits them."""
    start = getattr(tokenize, "FSTRING_START", None)
    end = getattr(tokenize, "FSTRING_END", None)
    lines = source.splitlines(keepends=True)
    depth, first = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == start:
            first = first if depth else token.start
            depth += 1
        elif token.type == end:
            depth -= 1
            if not depth:
                text = _between(lines, first, token.end)
                yield tokenize.TokenInfo(tokenize.STRING, text, first, token.end, token.line)
        elif not depth:
            yield token


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text between two positions as tokenize counts them: lines from 1, columns from 0."""
    text = "".join(lines[start[0] - 1 : end[0]])
    return text[start[1] : len(text) - len(lines[end[0] - 1]) + end[1]]
