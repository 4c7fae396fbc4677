"""Marathon's `taskStats`: counts and lifetimes of an app's tasks."""

import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fob.engine.tasks.app import App
from fob.engine.tasks.marathon_json import counts
from fob.engine.tasks.task import Task

Json = dict[str, Any]


def by_version(app: App) -> Json:
    """Return statistics of all tasks, and of those started before and since the last changes. A
    group without tasks is left out."""
    info, tasks = app.definition["versionInfo"], list(app.tasks.values())
    scaled, changed = info["lastScalingAt"], info["lastConfigChangeAt"]
    groups = {
        "startedAfterLastScaling": [task for task in tasks if task.record.version >= scaled],
        "withLatestConfig": [task for task in tasks if task.record.version >= changed],
        "withOutdatedConfig": [task for task in tasks if task.record.version < changed],
        "totalSummary": tasks,
    }
    return {name: {"stats": _stats(members)} for name, members in groups.items() if members}


def _stats(tasks: Sequence[Task]) -> Json:
    stats: Json = {"counts": counts(tasks)}
    now = datetime.now(UTC)
    started = [datetime.fromisoformat(at) for task in tasks if (at := task.record.started_at)]
    if started:
        seconds = [(now - each).total_seconds() for each in started]
        stats["lifeTime"] = {
            "averageSeconds": statistics.fmean(seconds),
            "medianSeconds": statistics.median(seconds),
        }
    return stats
