"""The states of a task and the arrows between them; Mesos's names.

STAGING ---> STARTING ---> RUNNING ---> KILLING ---> KILLED
   |            |             |
   +------------+-------------+----> FINISHED, FAILED, LOST
"""

from enum import StrEnum


class TaskState(StrEnum):
    STAGING = "TASK_STAGING"  # placed: resources and ports are its own, nothing runs yet
    STARTING = "TASK_STARTING"  # its process runs and has not said that it is ready
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"  # asked to stop, still there
    FINISHED = "TASK_FINISHED"  # ended by itself with exit status 0
    FAILED = "TASK_FAILED"  # ended by itself in any other way
    KILLED = "TASK_KILLED"  # ended because it was asked to
    LOST = "TASK_LOST"  # ended while no engine was watching


ENDED = frozenset({TaskState.FINISHED, TaskState.FAILED, TaskState.KILLED, TaskState.LOST})

_ENDS_BY_ITSELF = {TaskState.FINISHED, TaskState.FAILED, TaskState.LOST}

ARROWS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.STAGING: frozenset({TaskState.STARTING, TaskState.KILLING} | _ENDS_BY_ITSELF),
    TaskState.STARTING: frozenset({TaskState.RUNNING, TaskState.KILLING} | _ENDS_BY_ITSELF),
    TaskState.RUNNING: frozenset({TaskState.KILLING} | _ENDS_BY_ITSELF),
    TaskState.KILLING: frozenset({TaskState.KILLED, TaskState.FAILED, TaskState.LOST}),
    **{state: frozenset() for state in ENDED},
}


def check(old: TaskState, new: TaskState) -> None:
    """Raise `ValueError` when no arrow leads from `old` to `new`."""
    if new not in ARROWS[old]:
        raise ValueError(f"a task cannot go from {old} to {new}")
