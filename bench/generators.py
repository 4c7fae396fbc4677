"""What asks in a closed loop: wrk where it is there, else our own load.py. Open loops are ours."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import stats
from bench.install import Installed
from bench.machine import Cores

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")
OPEN_RATE = 1000.0  # requests a second, which every server here can answer
OPEN_CONNECTIONS = 64
PATIENCE_SECONDS = 60

Measured = dict[str, float]
_NONE: Mapping[str, str] = {}


class LoadFailed(Exception):
    """The server did not answer as it should; the message says how."""


@dataclass(frozen=True)
class Target:
    """What is called: a name for it, where it answers, and the processes that work for it."""

    name: str
    host: str
    port: int
    path: str
    pids: Callable[[], set[int]]


class Generators:
    """Load from processes of their own, on the generator's core."""

    def __init__(self, cores: Cores, wrk: Installed | None) -> None:
        self._cores = cores
        self._wrk = wrk
        self.name = f"wrk {wrk.version('wrk')}" if wrk else "bench/load.py"

    def closed(self, target: Target, connections: int, seconds: float) -> Measured:
        """{"answers", "rate" in 1/s, "p50" and "p99" in us} of `connections` that ask without a
        pause."""
        cores = self._cores.of_callers(connections)
        if self._wrk is None:
            return self._own("closed", target, connections, cores, seconds)
        url = f"http://{target.host}:{target.port}{target.path}"
        counts = ["-t1", f"-c{connections}", f"-d{PATIENCE_SECONDS}s"]
        command = [self._wrk.program("wrk"), *counts, "--timeout=10s", f"-s{WRK_SCRIPT}", url]
        said = self._output(command, cores, self._wrk.variables, interrupted_after=seconds)
        found = json.loads(said.splitlines()[-1])
        if found["errors"] or not found["answers"]:
            raise LoadFailed(f"at c={connections} wrk says {found}")
        rate = found["answers"] / found["seconds"]
        tell = {"p50": found["p50_us"], "p99": found["p99_us"]}
        return {"answers": found["answers"], "rate": rate, **tell}

    def open(self, target: Target, seconds: float, seed: int) -> Measured:
        """The same, a latency counting from the moment that the request was due."""
        cores, options = self._cores.generator, (seconds, OPEN_RATE, seed)
        return self._own("open", target, OPEN_CONNECTIONS, cores, *options)

    def _own(
        self, how: str, target: Target, connections: int, cores: set[int], *options: Any
    ) -> Measured:
        where = [target.host, str(target.port), target.path, str(connections)]
        command = [sys.executable, "-m", "bench.load", how, *where, *map(str, options)]
        found = json.loads(self._output(command, cores))
        latencies = found["latencies_us"]
        answers = len(latencies) - found["unanswered"]
        return {
            "answers": answers,
            "rate": answers / found["seconds"],
            "p50": stats.point(latencies, 0.5),
            "p99": stats.point(latencies, 0.99),
        }

    def _output(
        self,
        command: list[str],
        cores: set[int],
        variables: Mapping[str, str] = _NONE,
        interrupted_after: float | None = None,
    ) -> str:
        """What the command prints; it inherits the cores that we have while it starts.

        wrk knows whole seconds only, and tells what it has measured when it is interrupted.
        """
        os.sched_setaffinity(0, cores)
        try:
            process = subprocess.Popen(
                command,
                env=os.environ | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        finally:
            os.sched_setaffinity(0, self._cores.all)
        with process:
            try:
                if interrupted_after is not None:
                    time.sleep(interrupted_after)
                    process.send_signal(signal.SIGINT)
                output, errors = process.communicate(timeout=PATIENCE_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise LoadFailed(f"{command[0]} did not end") from error
            finally:
                process.kill()  # of no effect when it has ended
        if process.returncode:
            raise LoadFailed((errors or output).strip()[-300:])
        return output
