"""A function of several files: which module is its entry, and that module imported.

The dispatcher finds the entry with the same code.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

# modules that are looked for, in this order, in the top folder and then in the only package
ENTRY_MODULES = ("__main__", "handler", "main", "app", "lambda_function", "function")


class NoEntry(ValueError):
    """It is not clear which module to import; `found` names the modules there are."""

    def __init__(self, message: str, found: list[str]) -> None:
        super().__init__(f"{message}; the archive has {', '.join(found[:20]) or 'none'}")
        self.found = found


def entry_of(modules: dict[str, str], wanted: str) -> tuple[str, str]:
    """The entry's module and the name to call in it, "" when that is to be searched for.

    `modules` is what `modules_of` gives. `wanted` is "", a module, `module:name`, `module.name`,
    or a name in the module that is the entry anyhow. Raises NoEntry.
    """
    module, colon, name = wanted.partition(":")
    if not colon and module not in modules:
        module, _, name = wanted.rpartition(".")
        module = module or _default(modules)
    if module not in modules:
        raise NoEntry(f"the entry {wanted!r} is no module of the archive", list(modules))
    return module, name


def modules_of(paths: Iterable[str]) -> dict[str, str]:
    """The path of every module, by its dotted name; where both are, a package hides a file."""
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


def load(folder: str, entry: str, snippet: Any) -> tuple[Any, str]:
    """What `snippet`, the runner's class for a file, makes of the entry module in `folder`, and
    the name to call in it.

    The folder becomes the first on the path, and the one worked in: the other platforms start
    functions among their files too. Raises NoEntry.
    """
    paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    modules = modules_of(path[len(folder) :] for path in paths)
    module, name = entry_of(modules, entry)
    file = folder + modules[module]
    sys.dont_write_bytecode = True
    sys.path.insert(0, folder[:-1])
    sys.argv[:] = [file]
    os.chdir(folder)

    class Package(snippet):  # type: ignore[misc]
        """The entry module: imported by its own name, so that the others can import it too."""

        def run(self, name: str) -> Any:
            lines = self.source.splitlines() if not parent else []
            relative = any(line.lstrip().startswith(b"from .") for line in lines)
            # a script; the runner's own name; a member of a package that was its folder elsewhere
            if name == "__main__" or module == "__main__" or relative:
                return super().run(name)
            __import__(module)
            found = sys.modules[module]
            if getattr(found, "__file__", None) != file:
                raise ImportError(f"{module} is a module of Python's own: give it another name")
            return vars(found)

    parent = module if file.endswith("/__init__.py") else module.rpartition(".")[0]
    with open(file, "rb") as source:
        return Package(source.read(), file, parent), name
