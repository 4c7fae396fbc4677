"""Loads what only some functions need: features, and adapters for other platforms.

They travel as source text inside the linked runner and are compiled on first use, so a cold start
pays for none of them.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FEATURES: dict[str, str] = {}  # sources by name; the linker puts them here
# What features may import of the runner. Once linked, they read it from the attribute `core` that
# `feature` sets; main.py fills it.
CORE: Any = type(sys)("fob_core")


def feature(name: str) -> Any:
    """Return the module `name` of features/ or adapters/, loading it on first use."""
    full = "fob_" + name
    if full not in sys.modules:
        module: Any = type(sys)(full)
        module.core = CORE
        code = compile(FEATURES[name], f"runner/{name}.py", "exec", dont_inherit=True)
        exec(code, module.__dict__)
        # registered only when complete: another thread must not see half a module
        sys.modules.setdefault(full, module)
    return sys.modules[full]
