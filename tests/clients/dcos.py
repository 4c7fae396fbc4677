"""The DC/OS command line, run as users run it: `dcos marathon ...` in a process."""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import live

PATIENCE_SECONDS = 60.0
VERSIONS = ("0.4.0", "0.6.1")
QUICK = ("app add", "task list", "deployment list", "group add")  # one of each kind, not `slow`
NOISE = ("RequestsDependencyWarning", "warnings.warn(", "DCOS_CONFIG is deprecated")
TRIED: dict[str, tuple[tuple[str, ...], str]] = {}  # command: versions, and the result


def tries(
    command: str, outcome: str, versions: tuple[str, ...] = VERSIONS
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test as the one of `dcos marathon <command>`, to be run with each of these versions.

    `outcome` says what it asserts; docs/engine.md lists it.
    """

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        assert command not in TRIED, f"{command} has two tests"
        TRIED[command] = (versions, outcome)
        quick = versions[-1:] if command in QUICK else ()
        return pytest.mark.parametrize(
            "version",
            [pytest.param(v, marks=[] if v in quick else [pytest.mark.slow]) for v in versions],
        )(test)

    return mark


@dataclass
class Outcome:
    status: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def rows(self) -> list[dict[str, str]]:
        """Return the printed table, with keys from its head; no cell may have a space."""
        head, *rows = [line.split() for line in self.out.splitlines() if line.strip()]
        return [dict(zip(head, row, strict=False)) for row in rows]


class Dcos:
    """One version of the command line, configured for one engine."""

    def __init__(self, version: str, folder: Path, home: Path, engine: live.Engine) -> None:
        self.version = version
        self.engine = engine
        self._command = folder / "bin" / "dcos"
        settings = home / ".dcos" / "dcos.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(
            f'[core]\ndcos_url = "{engine.url}"\ndcos_acs_token = "{engine.token}"\n'
            'reporting = false\nemail = "a@b.c"\n'
        )
        settings.chmod(0o600)
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(home),
            "DCOS_CONFIG": str(settings),
        }

    def __call__(self, *words: str, given: Any = None) -> Outcome:
        """Run `dcos marathon <words>`, with `given` as JSON on standard input."""
        done = subprocess.run(
            [str(self._command), "marathon", *words],
            env=self.environment,
            input="" if given is None else json.dumps(given),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        err = [line for line in done.stderr.splitlines() if not any(n in line for n in NOISE)]
        return Outcome(done.returncode, done.stdout, "\n".join(err))

    def good(self, *words: str, given: Any = None) -> Outcome:
        """Run a command that must succeed and print no errors."""
        outcome = self(*words, given=given)
        assert (outcome.status, outcome.err) == (0, ""), outcome
        return outcome

    def app(self, app_id: str = "/a", **more: Any) -> dict[str, Any]:
        """Return the definition of an app that sleeps for a long time."""
        return {"id": app_id, "cmd": "exec sleep 1000", "cpus": 0.01, "mem": 16, **more}

    def start(self, app_id: str = "/a", **more: Any) -> None:
        """Start an app without the command line."""
        self.engine.run(**{"app_id": app_id} | _without_id(self.app(app_id, **more)))
        self.engine.running(app_id, more.get("instances", 1))

    def stuck(self, app_id: str = "/stuck") -> str:
        """Create an app that never fits; return the id of its deployment."""
        created = self.engine.run(**{"app_id": app_id} | _without_id(self.app(cpus=10_000)))
        return str(created["deployments"][0]["id"])

    def until_done(self) -> None:
        """Wait until no deployment is in progress."""
        live.until(lambda: not self.engine.get("/v2/deployments"), "the end of deployments")


def _without_id(app: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in app.items() if key != "id"}
