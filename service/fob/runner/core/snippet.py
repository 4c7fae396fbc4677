"""The user's file as a module."""

from __future__ import annotations

import sys

from fob.runner.core.names import (
    APPLICATION_NAMES,
    ENTRY_NAMES,
    bound_by,
    public_functions,
    statements,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SNIPPET_FILE = "snippet.py"  # its name in tracebacks
PARSE_ONLY = 0x400  # ast.PyCF_ONLY_AST


class Snippet:
    """A file, compiled; the `__loader__` that tracebacks ask for its source lines."""

    folder = ""  # where the files of an archive are unpacked, with a slash at the end

    def __init__(self, source: bytes, file: str = SNIPPET_FILE, package: str = "") -> None:
        self.source, self.file, self.package = source, file, package
        self.code = compile(source, file, "exec", dont_inherit=True)
        self._statements: list[Any] | None = None

    @property
    def statements(self) -> list[Any]:
        """The statements that run when the file does.

        Parsed on first use: a function with a well-known name needs no more than its code.
        """
        if self._statements is None:
            tree: Any = compile(self.source, self.file, "exec", PARSE_ONLY, dont_inherit=True)
            self._statements = list(statements(tree.body))
        return self._statements

    @statements.deleter
    def statements(self) -> None:
        self._statements = None

    def get_source(self, _name: str) -> str:
        """Return the text; linecache calls this."""
        import importlib.util

        return importlib.util.decode_source(self.source)

    def run(self, name: str) -> dict[str, Any]:
        """Run the file as the module `name`; return what it defines."""
        module = type(sys)(name)
        module.__file__, module.__package__ = self.file, self.package
        module.__loader__ = self  # type: ignore[assignment]
        if name != "__main__":  # pickle and dataclasses look it up; __main__ is the runner's
            sys.modules[name] = module
        if name != "__main__" and not self.package:  # so that `from . import storage` works
            module.__package__ = name
            module.__path__ = [Snippet.folder] if Snippet.folder else []
        exec(self.code, module.__dict__)
        return module.__dict__

    def is_script(self) -> bool:
        """Whether nothing in the file can be a function to call."""
        if any(getattr(made, "co_name", "") in ENTRY_NAMES for made in self.code.co_consts):
            return False
        if public_functions(self.statements):
            return False
        entries = (*ENTRY_NAMES, *APPLICATION_NAMES, "*")
        return not any(name in entries for node in self.statements for name in bound_by(node))
