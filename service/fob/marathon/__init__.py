"""Marathon as fob knows it: the client, and the table of tasks kept from its events."""

from fob.marathon.client import Marathon
from fob.marathon.task import Task
from fob.marathon.tasks import Tasks

__all__ = ["Marathon", "Task", "Tasks"]
