"""The measurements: `python -m bench.run alone|peers`.

*alone* is fob beside the bare epoll loop, with up to a thousand functions; *peers* fob beside
everybody in peers.py, and ten thousand functions at rest. Every value goes into a result file
(record.py), from which report.py makes tables and plots.
"""

import argparse
import contextlib
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import calls, conditions, control, launches, record, report, starts, stats
from bench.generators import Generators
from bench.install import Environment, Installed, NotInstalled, install
from bench.machine import Cores
from bench.peers import FLOOR, PEERS, TWIN, WRK, Peer
from bench.servers import NotStarted, running
from bench.service import HELLO, Service, service

TWINS = [(f"{FLOOR.name}/c16/rate", f"{TWIN.name}/c16/rate")]
UNITS = {
    "rate": "1/s",
    "p50": "us",
    "p99": "us",
    "cpu": "us",
    "memory": "MB",
    "held": "KB",
    "idle cpu": "%",
}


@dataclass(frozen=True)
class Sizes:
    """How much of each is measured; times in seconds."""

    starts: int = 0
    launches: int = 0
    rounds: int = 0
    seconds: float = 1.0
    functions: tuple[int, ...] = ()
    probes: int = 20
    idle_seconds: float = 3.0
    at_rest: int = 0
    first_calls: int = 0


FULL = {
    "alone": Sizes(400, 400, rounds=7, seconds=0.5, functions=(1, 10, 100, 1000)),
    "peers": Sizes(rounds=8, at_rest=10_000, first_calls=400),
}
QUICK = {
    "alone": Sizes(2, 2, 1, 0.1, functions=(1, 2), probes=2, idle_seconds=0.1),
    "peers": Sizes(rounds=1, seconds=0.3, at_rest=20, first_calls=6),
}


class Run:
    """One run: what it has of others' software, what is left out and why, the values so far."""

    def __init__(self, sizes: Sizes, seed: int, cores: Cores) -> None:
        self.sizes, self.cores = sizes, cores
        self.draw = random.Random(seed)
        self.left_out: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.values: dict[str, stats.Figure] = {}
        self.began = time.monotonic()

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:5.0f} s  {what}", flush=True)

    def leave_out(self, name: str, why: object) -> None:
        self.left_out[name] = str(why)
        self.say(f"{name} is left out: {why}")

    def installed(self, environment: Environment) -> Installed | None:
        """None, and left out, when it cannot be had here."""
        try:
            found = install(environment)
        except NotInstalled as error:
            self.leave_out(environment.name, f"it cannot be installed: {error}")
            return None
        self.versions[environment.name] = found.versions
        return found

    def keep(self, samples: dict[str, list[float]]) -> None:
        for name, values in samples.items():
            unit = UNITS.get(name.rpartition("/")[2], "ms")
            self.values[name] = stats.summary(values, unit)


def alone(run: Run, generators: Generators) -> None:
    """What `make bench` measures."""
    sizes = run.sizes
    with service() as fob:
        run.say(f"{sizes.starts} starts")
        run.keep(starts.of_functions(fob, sizes.starts))
        run.say(f"{sizes.launches} launches")
        run.keep({"launcher": launches.taken_ms(sizes.launches)})
        floor = {peer: Installed.python() for peer in (FLOOR, TWIN)}
        called(run, generators, fob, floor)
    with service() as fob:
        run.keep(control.grow(fob, sizes.functions, sizes.probes, sizes.idle_seconds, run.say))


def peers(run: Run, generators: Generators) -> None:
    """What `make bench-peers` measures."""
    found = {peer: run.installed(peer.environment) for peer in (FLOOR, TWIN, *PEERS)}
    there = {peer: installed for peer, installed in found.items() if installed}
    rested(run)
    with service() as fob:
        functions = {peer: it for peer, it in there.items() if not peer.proxy and peer != TWIN}
        run.keep(
            starts.of_peers(functions, fob, run.sizes.rounds, run.draw, run.say, run.leave_out)
        )
        called(run, generators, fob, there)


def rested(run: Run) -> None:
    """Functions at rest; before any load, which leaves the kernel memory that sockets may take."""
    try:
        with service() as fob:
            sizes = run.sizes
            run.keep(control.at_rest(fob, sizes.at_rest, sizes.first_calls, run.say))
    except ValueError as error:
        run.leave_out("functions at rest", error)


def called(run: Run, generators: Generators, fob: Service, others: dict[Peer, Installed]) -> None:
    """Calls of one function of fob's, and of each of the others, all of which are up meanwhile."""
    id_ = fob.gen(HELLO)
    targets = fob.targets(id_)
    upstream = f"{targets[0].host}:{targets[0].port}"
    with contextlib.ExitStack() as stack:
        for peer, installed in others.items():
            try:
                server = stack.enter_context(running(peer, installed, upstream))
            except NotStarted as error:
                run.leave_out(peer.name, error)
                continue
            behind = fob.pids if peer.proxy else set
            targets.append(server.target(behind))
        plan = calls.Plan(run.sizes.rounds, run.sizes.seconds, run.draw)
        run.keep(calls.in_rounds(targets, generators, run.cores, plan, run.say, run.leave_out))
    fob.remove(id_)


KINDS = {"alone": alone, "peers": peers}


def measured(kind: str, sizes: Sizes, seed: int, cores: Cores, wrk: bool) -> record.Result:
    """The result of a run, without what it is called and where it is kept."""
    circumstances = conditions.circumstances()
    run = Run(sizes, seed, cores)
    generators = Generators(cores, run.installed(WRK) if wrk else None)
    watch = conditions.Watch()
    KINDS[kind](run, generators)
    return circumstances | {
        "format": record.FORMAT,
        "kind": kind,
        "command": record.COMMANDS[kind],
        "seconds": round(time.monotonic() - run.began),
        "seed": seed,
        "sizes": asdict(sizes),
        "generator": {"closed": generators.name, "open": "bench/load.py"},
        "cores": {"servers": sorted(cores.servers), "generator": sorted(cores.generator)},
        "left_out": run.left_out,
        "installed": run.versions,
        "noise": watch.noise(run.values, TWINS),
        "values": run.values,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of all orders")
    parser.add_argument("--no-wrk", action="store_true", help="load from load.py only")
    parser.add_argument("--no-pin", action="store_true", help="leave the cores to the system")
    parser.add_argument("--results", type=Path, default=record.RESULTS, metavar="FOLDER")
    options = parser.parse_args()
    sizes = (QUICK if options.quick else FULL)[options.kind]
    cores = Cores(apart=not options.no_pin)
    result = measured(options.kind, sizes, options.seed, cores, not options.no_wrk)
    result["quick"] = options.quick
    path = record.write(result, options.results)
    print(f"\n{report.overview(result)}\n\n{path}")


if __name__ == "__main__":
    main()
