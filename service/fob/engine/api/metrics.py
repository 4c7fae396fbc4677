"""The numbers of the engine, in the JSON of Codahale's metrics library that Marathon writes."""

import os
import resource
import time
from collections import Counter
from collections.abc import Mapping

from tornado.web import RequestHandler

from fob.engine.api.base import MarathonHandler
from fob.engine.tasks import marathon_json

FORMAT_VERSION = "3.0.0"  # of the JSON
MARATHON = "service.mesosphere.marathon."
OWN = "fob.engine."  # what Marathon has no name for


class Requests:
    """Counts responses by the first digit of their status: `2xx`."""

    def __init__(self) -> None:
        self.started_at = time.monotonic()
        self.by_class = Counter({f"{digit}xx": 0 for digit in (2, 3, 4, 5)})

    def count(self, handler: RequestHandler) -> None:
        self.by_class[f"{handler.get_status() // 100}xx"] += 1


class MetricsHandler(MarathonHandler):
    """`/metrics`: gauges and counters; there are no histograms, meters and timers."""

    def get(self) -> None:
        requests: Requests = self.settings["requests"]
        counts = {f"{OWN}responses.{name}": n for name, n in requests.by_class.items()}
        counts |= {f"{OWN}events.{name}": n for name, n in self.engine.events.published.items()}
        self.send(
            {
                "version": FORMAT_VERSION,
                "gauges": _each("value", self._gauges(requests)),
                "counters": _each("count", counts),
                "histograms": {},
                "meters": {},
                "timers": {},
            }
        )

    def _gauges(self, requests: Requests) -> dict[str, float]:
        uptime_ms = round(1000 * (time.monotonic() - requests.started_at))
        apps = self.supervisor.apps.values()
        tasks = marathon_json.counts([task for app in apps for task in app.tasks.values()])
        marathon = {
            "app.count": len(apps),
            "group.count": len(self.changes.groups.all()),
            "uptime": uptime_ms,
            "leaderDuration": uptime_ms,
            **{f"task.{name}.count": number for name, number in tasks.items()},
        }
        cpus, mem = self.engine.resources.free()
        own = {
            "deployments": len(self.supervisor.deployments.all()),
            "apps.waiting": sum(app.waiting is not None for app in apps),
            "cpus.free": cpus,
            "mem.free": mem,
            "process.cpu.seconds": time.process_time(),
            "process.memory.max.bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "process.files.open": len(os.listdir("/proc/self/fd")),
        }
        return {MARATHON + name: number for name, number in marathon.items()} | {
            OWN + name: number for name, number in own.items()
        }


def _each(key: str, numbers: Mapping[str, float]) -> dict[str, dict[str, float]]:
    return {name: {key: number} for name, number in sorted(numbers.items())}
