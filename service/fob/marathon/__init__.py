"""The client of Marathon, and the table of tasks kept up to date by its events."""

from fob.marathon.client import Marathon
from fob.marathon.task_info import TaskInfo
from fob.marathon.task_table import TaskTable

__all__ = ["Marathon", "TaskInfo", "TaskTable"]
