"""Marathon's `taskStats`: how many of an app's tasks are in which state, and how old they are."""

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fob.engine.tasks.app import App
from fob.engine.tasks.marathon_json import counts
from fob.engine.tasks.task import Task

Json = dict[str, Any]


def by_version(app: App) -> Json:
    """Of all tasks, and of those before and since the last changes; of none there is nothing."""
    info, tasks = app.definition["versionInfo"], list(app.tasks.values())
    scaled, changed = info["lastScalingAt"], info["lastConfigChangeAt"]
    found = {
        "startedAfterLastScaling": [task for task in tasks if task.record.version >= scaled],
        "withLatestConfig": [task for task in tasks if task.record.version >= changed],
        "withOutdatedConfig": [task for task in tasks if task.record.version < changed],
        "totalSummary": tasks,
    }
    return {name: {"stats": _stats(some)} for name, some in found.items() if some}


def _stats(tasks: Sequence[Task]) -> Json:
    told: Json = {"counts": counts(tasks)}
    now = datetime.now(UTC)
    started = [datetime.fromisoformat(at) for task in tasks if (at := task.record.started_at)]
    if started:
        seconds = [(now - each).total_seconds() for each in started]
        told["lifeTime"] = {
            "averageSeconds": statistics.fmean(seconds),
            "medianSeconds": statistics.median(seconds),
        }
    return told
