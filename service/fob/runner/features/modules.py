"""A function of several files: finds its entry module, and imports it.

The dispatcher finds the entry with the same code.
"""

from __future__ import annotations

import os
import sys

from fob.runner.core.snippet import Snippet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# looked for in this order, in the top folder and then in the only package
ENTRY_MODULES = ("__main__", "handler", "main", "app", "lambda_function", "function")


class NoEntry(ValueError):
    """It is ambiguous which module to import; `found` names all modules."""

    def __init__(self, message: str, found: list[str]) -> None:
        super().__init__(f"{message}; the archive has {', '.join(found[:20]) or 'none'}")
        self.found = found


def entry_of(modules: dict[str, str], entry: str) -> tuple[str, str]:
    """The entry's module, and the name to call in it or "".

    `modules` is from `modules_of`. `entry` is "", a module, `module:name`, `module.name`, or a
    name in the default entry module. Raises NoEntry.
    """
    module, colon, name = entry.partition(":")
    if not colon and module not in modules:
        module, _, name = entry.rpartition(".")
        module = module or _default(modules)
    if module not in modules:
        raise NoEntry(f"the entry {entry!r} is not a module of the archive", list(modules))
    return module, name


def modules_of(paths: Iterable[str]) -> dict[str, str]:
    """The path of every module, by its dotted name; a package hides a file of the same name."""
    found = {}
    for path in sorted(paths, key=lambda path: path.endswith("/__init__.py")):
        if path.endswith(".py") and path != "__init__.py":
            found[path[:-3].replace("/", ".").removesuffix(".__init__")] = path
    return found


def _default(modules: dict[str, str]) -> str:
    top = [name for name, path in modules.items() if "/" not in path]
    packages = [name for name, path in modules.items() if path == name + "/__init__.py"]
    for name in ENTRY_MODULES:
        if name in top:
            return name
    if len(top) == 1:
        return top[0]
    if not top and len(packages) == 1:
        inside = (f"{packages[0]}.{name}" for name in ENTRY_MODULES)
        return next((name for name in inside if name in modules), packages[0])
    looked = ", ".join(f"{name}.py" for name in ENTRY_MODULES)
    message = f"no entry module: looked for {looked}, the only .py file, and the only package"
    raise NoEntry(message, list(modules))


def load(folder: str, entry: str) -> tuple[Snippet, str]:
    """Find the entry module in `folder`; return it, and the name to call in it or "".

    The folder becomes the first on the path and the working directory, as on other platforms.
    Raises NoEntry.
    """
    paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    modules = modules_of(path[len(folder) :] for path in paths)
    module, name = entry_of(modules, entry)
    file = folder + modules[module]
    sys.dont_write_bytecode = True
    sys.path.insert(0, folder[:-1])
    sys.argv[:] = [file]
    os.chdir(folder)

    class EntryModule(Snippet):
        """Imported by its own name, so that the other modules can import it too."""

        def run(self, name: str) -> dict[str, Any]:
            lines = self.source.splitlines() if not parent else []
            relative = any(line.lstrip().startswith(b"from .") for line in lines)
            # a script; the runner's own name; or on other platforms its folder is a package
            if name == "__main__" or module == "__main__" or relative:
                return super().run(name)
            __import__(module)
            found = sys.modules[module]
            if getattr(found, "__file__", None) != file:
                raise ImportError(f"{module} is a module of Python's own: give it another name")
            return vars(found)

    parent = module if file.endswith("/__init__.py") else module.rpartition(".")[0]
    with open(file, "rb") as source:
        return EntryModule(source.read(), file, parent), name
