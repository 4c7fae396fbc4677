"""Rolling upgrades: which tasks to stop and how many to start, by the app's `upgradeStrategy`.

As in Marathon, `minimumHealthCapacity` is the share of `instances` that is available at all times,
and `maximumOverCapacity` the share of additional tasks that may exist during the upgrade.
"""

import math
from collections.abc import Iterator

from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task


def tasks_to_stop(app: App) -> Iterator[tuple[Task, str]]:
    """Yield the tasks to stop now, each with the reason: outdated ones as far as new ones are
    available in their place, and current ones above the desired number."""
    available = sum(task.available for task in app.current())
    kept = max(0, _min_available(app) - available)
    for task in sorted(app.outdated(), key=lambda task: not task.available)[kept:]:
        yield task, "replaced by a newer version"
    surplus = max(0, len(app.current()) - app.instances)
    for task in _in_stop_order(app)[:surplus]:
        yield task, "the app was scaled down"


def startable(app: App) -> int:
    """Return how many tasks may be started now: the missing ones, within the maximum."""
    max_tasks = math.floor(round(app.instances * (1 + _share(app, "maximumOverCapacity")), 6))
    if max_tasks == _min_available(app) and app.outdated():
        max_tasks += 1  # otherwise no task could ever be replaced
    return max(0, min(app.missing(), max_tasks - len(app.tasks)))


def _min_available(app: App) -> int:
    return math.ceil(round(app.instances * _share(app, "minimumHealthCapacity"), 6))


def _share(app: App, name: str) -> float:
    return float(app.definition["upgradeStrategy"].get(name, 1))


def _in_stop_order(app: App) -> list[Task]:
    """Return the current tasks: first those that are not available, then by `killSelection`."""
    oldest_first = app.definition.get("killSelection") == "OLDEST_FIRST"
    ordered = app.current() if oldest_first else app.current()[::-1]
    return sorted(ordered, key=lambda task: task.available)
