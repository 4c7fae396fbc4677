"""Finds the modules that SeBS puts beside its functions, if nothing else provides them."""

from __future__ import annotations

import os
import sys

from fob.runner.core.feature import feature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAMES = ("storage", "nosql", "snippet.storage", "snippet.nosql")


class Finder:
    """Goes to the end of sys.meta_path; the modules it finds keep their files under `root`."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find_spec(self, name: str, *_: Any) -> Any:
        make: Any = sys.modules["_frozen_importlib"]
        return make.ModuleSpec(name, self) if name in NAMES else None

    def create_module(self, spec: Any) -> Any:
        name = spec.name.rpartition(".")[2]
        module = feature(name)
        module.FOLDER = os.path.join(self._root, name)
        return module

    def exec_module(self, module: Any) -> None:
        """Nothing: the module has been executed."""
