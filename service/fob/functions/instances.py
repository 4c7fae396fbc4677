"""A function's instances, as Marathon's tasks: which are ready or failed, where they listen."""

from collections.abc import Iterable, Mapping
from typing import Any

from fob.functions.app_definition import CONTAINER_PORT
from fob.marathon.task_info import TaskInfo


def address(task: TaskInfo) -> tuple[str, int]:
    """Return host and port at which the instance listens."""
    if task.ports:
        return task.host, task.ports[0]
    # A container with a network of its own: its address, and the port that its command sets.
    return task.ip_addresses[0], CONTAINER_PORT


def ready_of(tasks: Iterable[TaskInfo]) -> list[TaskInfo]:
    """Return the instances that are ready and have an address."""
    return [task for task in tasks if task.ready and (task.ports or task.ip_addresses)]


def last_failed(app: Mapping[str, Any]) -> list[TaskInfo]:
    """Return the instance that failed last, if Marathon still knows it."""
    last = app.get("lastTaskFailure")
    return [failed_instance(app["id"], last)] if last and last.get("taskId") else []


def failed_instance(app_id: str, failure: Mapping[str, Any]) -> TaskInfo:
    """Return the instance that `failure`, in Marathon's format, is about."""
    return TaskInfo.from_json({**failure, "id": failure.get("taskId") or "", "appId": app_id}, 0)
