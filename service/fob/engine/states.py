"""The states of a task and the transitions between them, with the names that Mesos uses.

STAGING ---> STARTING ---> RUNNING ---> KILLING ---> KILLED
   |            |             |
   +------------+-------------+----> FINISHED, FAILED, LOST
"""

from enum import StrEnum


class TaskState(StrEnum):
    STAGING = "TASK_STAGING"  # placed: it has resources and ports, but no process yet
    STARTING = "TASK_STARTING"  # its process runs but is not ready yet
    RUNNING = "TASK_RUNNING"
    KILLING = "TASK_KILLING"  # asked to stop, not ended yet
    FINISHED = "TASK_FINISHED"  # ended by itself with exit status 0
    FAILED = "TASK_FAILED"  # ended by itself in any other way
    KILLED = "TASK_KILLED"  # ended because the engine stopped it
    LOST = "TASK_LOST"  # ended while no engine was running


ENDED = frozenset({TaskState.FINISHED, TaskState.FAILED, TaskState.KILLED, TaskState.LOST})

_ENDS_BY_ITSELF = {TaskState.FINISHED, TaskState.FAILED, TaskState.LOST}

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    TaskState.STAGING: frozenset({TaskState.STARTING, TaskState.KILLING} | _ENDS_BY_ITSELF),
    TaskState.STARTING: frozenset({TaskState.RUNNING, TaskState.KILLING} | _ENDS_BY_ITSELF),
    TaskState.RUNNING: frozenset({TaskState.KILLING} | _ENDS_BY_ITSELF),
    TaskState.KILLING: frozenset({TaskState.KILLED, TaskState.FAILED, TaskState.LOST}),
    **{state: frozenset() for state in ENDED},
}


def check_transition(old: TaskState, new: TaskState) -> None:
    """Raise `ValueError` when a task in state `old` cannot change to `new`."""
    if new not in TRANSITIONS[old]:
        raise ValueError(f"a task cannot go from {old} to {new}")
