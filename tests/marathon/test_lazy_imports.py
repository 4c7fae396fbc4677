"""A service with the embedded engine does not import requests, which costs 0.1 s and 6.7 MB."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import live

MODULES = ("fob.dispatcher.main", "fob.dispatcher.assembly", "fob.engine.main", "fob.cli.commands")
LAZY = {"requests", "urllib3", "charset_normalizer", "idna", "fob.marathon.remote"}


class Importing(live.Server):
    """A dispatcher on the embedded engine that logs its imports (`python -X importtime`)."""

    def __init__(self, home: Path) -> None:
        super().__init__(
            [sys.executable, "-X", "importtime", "fob_dispatcher.py"],
            live.environment(home, FOB_PORT="0"),
            r"Listening on port (\d+)",
        )
        self.url = f"http://127.0.0.1:{self.ready()[1]}"

    def ask(self, path: str, body: bytes | None = None) -> str:
        url = self.url + path
        with urllib.request.urlopen(url, body, timeout=live.PATIENCE_SECONDS) as response:
            return str(response.read().decode())

    def imported(self) -> set[str]:
        lines = (re.match(r"import time:.*\| +(\S+)$", line) for line in self.log)
        return {match[1] for match in lines if match}


def imported_by(module: str) -> set[str]:
    """The modules in a fresh interpreter that imports `module`."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=live.SERVICE
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", MODULES)
def test_importing_fob_does_not_import_requests(module: str) -> None:
    assert LAZY & imported_by(module) == set()


@pytest.mark.executed
def test_a_dispatcher_on_the_embedded_engine_never_imports_requests(tmp_path: Path) -> None:
    dispatcher = Importing(tmp_path)
    try:
        source = b"def handler():\n    print('hi')\n    return 1\n"
        id_ = json.loads(dispatcher.ask("/api/gen", source))["id"]
        dispatcher.ask(f"/api/meta/{id_}?wait=20")
        assert "1" in dispatcher.ask(f"/api/call/{id_}")
        assert "hi" in dispatcher.ask(f"/api/functions/{id_}/logs")
    finally:
        assert dispatcher.stop() == 0
    assert "fob.marathon.direct" in dispatcher.imported()
    assert LAZY & dispatcher.imported() == set()
