"""`make bench`: cold start, calls, memory per function, on the embedded engine of this machine.

Every sample goes into a result file (see record.py); the table is a reading of it.
"""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record

SAMPLE = (record.ROOT / "py_example.py").read_bytes()
COLD_STARTS = 100  # of each kind of file
PACKAGE = "fob_bench_package"
CALLS = 2000
CONCURRENCY = 16
ROUNDS = 12  # of throughput, direct and routed in turn
ROUND_SECONDS = 1.0
FUNCTIONS = 50  # alive at once when memory is read


class Service:
    """The service under test, and one keep-alive connection to it."""

    def __init__(self, home: str, port: int) -> None:
        self.home, self.port = home, port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        return ask(self._connection, method, path, body)

    def gen(self, source: bytes = SAMPLE) -> str:
        return str(self.ask("POST", "/api/gen", source)["id"])

    def meta(self, id_: str) -> tuple[str, int]:
        where = self.ask("GET", f"/api/meta/{id_}?wait=60")
        return where["host"], where["port"]

    def remove(self, id_: str) -> None:
        self.ask("DELETE", f"/api/functions/{id_}")

    def close(self) -> None:
        self._connection.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> Any:
    connection.request(method, path, body=body)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{method} {path} answered {answer.status}: {content.decode()}")
    return json.loads(content)


def make_package(folder: str) -> None:
    """A wheel of one empty module, so that measuring dependencies needs no network."""
    info = f"{PACKAGE}-1.0.dist-info"
    with zipfile.ZipFile(Path(folder, f"{PACKAGE}-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr(f"{PACKAGE}.py", "")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@contextlib.contextmanager
def service() -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="fob-bench-") as home:
        make_package(home)
        os.environ |= {"PIP_FIND_LINKS": home, "UV_FIND_LINKS": home}
        flags = [f"--home={home}", "--host=127.0.0.1", "--port=0", "--marathon-api=", "--token="]
        log = Path(home, "bench.log")
        with log.open("wb") as errors:
            command = [sys.executable, "-m", "fob", "serve", *flags, "--cpus=1000", "--mem=1000000"]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors)
        try:
            running = Service(home, port_of(process, log))
            yield running
            running.close()
        finally:
            process.terminate()
            process.wait(60)


def port_of(process: subprocess.Popen[bytes], log: Path) -> int:
    """The port that the service names in its log."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"Listening on port (\d+)", log.read_text()):
            return int(match[1])
        time.sleep(0.01)
    raise SystemExit(f"the service did not start: {log.read_text()}")


def cold_starts(running: Service) -> dict[str, dict[str, Any]]:
    """From POST to first answer, of files without and with a dependency that is installed already,
    in turn."""
    needing = f'# /// script\n# dependencies = ["{PACKAGE}==1.0"]\n# ///\n'.encode() + SAMPLE
    kinds = {"cold start": SAMPLE, "cold start, installed dependency": needing}
    kept = running.gen(needing)  # installs it, and keeps it
    running.meta(kept)
    samples: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(COLD_STARTS):
        for kind, source in kinds.items():
            samples[kind].append(cold_start(running, source + f"\n# {number}\n".encode()))
    running.remove(kept)
    return {kind: record.summary(taken, "ms") for kind, taken in samples.items()}


def cold_start(running: Service, source: bytes) -> float:
    """Milliseconds from POST to the first answer of a function nobody has seen."""
    started_ns = time.monotonic_ns()
    id_ = running.gen(source)
    host, port = running.meta(id_)
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=60)) as function:
        ask(function, "GET", "/", None)
        taken_ms = (time.monotonic_ns() - started_ns) / 1e6
    running.remove(id_)
    return taken_ms


def load(host: str, port: int, path: str, connections: int, seconds: float, count: int) -> Any:
    """What the load generator measured."""
    arguments = map(str, (host, port, path, connections, seconds, count))
    command = [sys.executable, str(Path(__file__).with_name("load.py")), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def calls(running: Service) -> dict[str, dict[str, Any]]:
    """Latency of one caller and throughput of many, straight and through the service."""
    id_ = running.gen()
    ways = {
        "direct": (*running.meta(id_), "/"),
        "routed": ("127.0.0.1", running.port, f"/api/call/{id_}"),
    }
    results = {}
    for way, target in ways.items():
        latencies = load(*target, 1, 0, CALLS)["latencies_ns"]
        results[f"{way} call, c=1"] = record.summary([ns / 1e3 for ns in latencies], "us")
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, target in ways.items():
            done = load(*target, CONCURRENCY, ROUND_SECONDS, 0)
            rates[way].append(done["answers"] / done["seconds"])
    for way, samples in rates.items():
        results[f"{way} calls, c={CONCURRENCY}"] = record.summary(samples, "1/s")
    running.remove(id_)
    return results


def memory(running: Service) -> list[float]:
    """MiB (PSS) of each of many functions alive at once, each called before."""
    ids = [running.gen() for _ in range(FUNCTIONS)]
    for id_ in ids:
        running.meta(id_)
        running.ask("GET", f"/api/call/{id_}")
    samples = [pss_mib(pid) for pid in tasks_of(running.home)]
    if len(samples) != FUNCTIONS:
        raise SystemExit(f"{len(samples)} processes of {FUNCTIONS} functions were found")
    for id_ in ids:
        running.remove(id_)
    return samples


def tasks_of(home: str) -> list[str]:
    """The processes that work in a sandbox of the engine."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd").startswith(f"{home}/engine/tasks/"):
                found.append(pid)
    return found


def pss_mib(pid: str) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^Pss: +(\d+) kB$", rollup, re.MULTILINE)) / 1024


def main() -> None:
    result = record.circumstances()
    with service() as running:
        print(f"{COLD_STARTS} cold starts of each kind ...", flush=True)
        results = cold_starts(running)
        print("calls ...", flush=True)
        results |= calls(running)
        print(f"memory of {FUNCTIONS} functions ...\n", flush=True)
        pss = memory(running)
        results["memory of a function (PSS)"] = record.summary(pss, "MiB")
        result["memory_sum_mib"] = sum(pss)
    result["results"] = results
    print(record.table(results))
    print(f"\n{record.write(result)}")


if __name__ == "__main__":
    main()
