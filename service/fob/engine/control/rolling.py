"""How an app's tasks are replaced by those of a newer version: as its upgradeStrategy wants it.

As in Marathon, `minimumHealthCapacity` is the share of `instances` that serves all the time,
`maximumOverCapacity` the share that may be there on top of them.
"""

import math
from collections.abc import Iterator

from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task


def superfluous(app: App) -> Iterator[tuple[Task, str]]:
    """The tasks to stop now, and why: old ones as far as new ones are fit to replace them, and
    those above the number that is wanted."""
    fit = sum(task.fit for task in app.current())
    kept = max(0, _least(app) - fit)
    for task in sorted(app.outdated(), key=lambda task: not task.fit)[kept:]:
        yield task, "replaced by a newer version"
    surplus = max(0, len(app.current()) - app.instances)
    for task in _last_first(app)[:surplus]:
        yield task, "the app was scaled down"


def startable(app: App) -> int:
    """How many tasks may be placed now: those that are missing, as far as there may be more."""
    most = math.floor(round(app.instances * (1 + _capacity(app, "maximumOverCapacity")), 6))
    if most == _least(app) and app.outdated():
        most += 1  # or else nothing could ever be replaced
    return max(0, min(app.missing(), most - len(app.tasks)))


def _least(app: App) -> int:
    return math.ceil(round(app.instances * _capacity(app, "minimumHealthCapacity"), 6))


def _capacity(app: App, name: str) -> float:
    return float(app.definition["upgradeStrategy"].get(name, 1))


def _last_first(app: App) -> list[Task]:
    """The wanted tasks, those first that can go first: who is not fit, then by killSelection."""
    oldest_first = app.definition.get("killSelection") == "OLDEST_FIRST"
    ordered = app.current() if oldest_first else app.current()[::-1]
    return sorted(ordered, key=lambda task: task.fit)
