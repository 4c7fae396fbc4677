"""Finds the modules that SeBS puts beside its functions, when nobody else has them."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NAMES = ("storage", "nosql", "snippet.storage", "snippet.nosql")


class Finder:
    """For sys.meta_path: what it finds keeps its files under `root`."""

    def __init__(self, part: Callable[[str], Any], root: str) -> None:
        self._part, self._root = part, root

    def find_spec(self, name: str, *_: Any) -> Any:
        make: Any = sys.modules["_frozen_importlib"]
        return make.ModuleSpec(name, self) if name in NAMES else None

    def create_module(self, spec: Any) -> Any:
        name = spec.name.rpartition(".")[2]
        module = self._part(name)
        module.FOLDER = os.path.join(self._root, name)
        return module

    def exec_module(self, module: Any) -> None:
        """It has been run."""
