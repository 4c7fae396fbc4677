"""Tasks: listing and killing them, and reading their files."""

import json
import re
from collections.abc import Callable, Iterable

from fob.engine.api.base import MarathonHandler
from fob.engine.definitions import app_definitions
from fob.engine.definitions.field_types import (
    Faults,
    list_of,
    object_of,
    text,
)
from fob.engine.errors import ApiError, invalid
from fob.engine.runtime.task_folders import READABLE
from fob.engine.tasks import marathon_json
from fob.engine.tasks.app import App
from fob.engine.tasks.marathon_json import Json
from fob.engine.tasks.task import Task

FILE_CHUNK_BYTES = 2**20
_BODY = object_of({"ids": list_of(text())}, ["ids"])
_TASK_ID = re.compile(r".+[._][^._]+")


class TaskKillHandler(MarathonHandler):
    """Kills tasks; with `?scale=true` they are not replaced. `?wipe=true` has no effect, because
    there are no persistent volumes."""

    def kill(self, tasks: list[Task], killed: Callable[[], Json]) -> None:
        """Kill `tasks`; respond with the deployment if the app is scaled, else with `killed()`."""
        scale = self.flag("scale")
        if scale and self.flag("wipe"):
            raise ApiError(400, "You cannot use scale and wipe at the same time.")
        if deployment := self.changes.kill(tasks, scale, self.flag("force")):
            self.send_deployment(deployment)
        else:
            self.send(killed())


class TaskListHandler(MarathonHandler):
    def send_tasks(self, apps: Iterable[App], selected: Callable[[Task], bool] = bool) -> None:
        """Send the tasks of these apps; with `Accept: text/plain` as lines of endpoints."""
        if self.request.headers.get("Accept", "").startswith("text/plain"):
            self.set_header("Content-Type", "text/plain")
            self.finish("".join(marathon_json.endpoints(app, self.supervisor.host) for app in apps))
            return
        tasks = [task for app in apps for task in app.tasks.values() if selected(task)]
        self.send({"tasks": [self.task_json(task) for task in tasks]})


class AppTasksHandler(TaskKillHandler, TaskListHandler):
    def get(self, app_id: str) -> None:
        self.send_tasks([self.app(app_id)])

    def delete(self, app_id: str) -> None:
        host = self.get_query_argument("host", "*")
        here = host in ("*", self.supervisor.host)
        tasks = list(self.app(app_id).tasks.values()) if here else []
        self.kill(tasks, lambda: {"tasks": [self.task_json(task) for task in tasks]})


class AppTaskHandler(TaskKillHandler):
    def delete(self, app_id: str, task_id: str) -> None:
        task = self.app(app_id).tasks.get(task_id)
        if task is None:
            raise ApiError(404, f"Task '{task_id}' does not exist")
        self.kill([task], lambda: {"task": self.task_json(task)})


class TasksBelowHandler(TaskListHandler):
    """`/v2/apps/<group>/*/tasks`: the tasks of every app in a group, at any depth."""

    def get(self, group: str) -> None:
        tree = self.changes.tree(app_definitions.absolute(group))
        self.send_tasks([self.supervisor.apps[app_id] for app_id in tree.apps])


class TasksHandler(TaskListHandler):
    def get(self) -> None:
        given = self.get_query_arguments("status") + self.get_query_arguments("status[]")
        statuses = {word.lower() for word in given} & {"running", "staging"}
        apps = self.supervisor.apps.values()
        self.send_tasks(apps, lambda task: not statuses or _status(task) in statuses)


class TasksDeleteHandler(TaskKillHandler):
    def post(self) -> None:
        body = self.body()
        faults: Faults = []
        ids = _BODY(body, None, faults).get("ids", [])
        if faults:
            raise invalid(faults)
        if malformed := [id_ for id_ in ids if not _TASK_ID.fullmatch(id_)]:
            raise ApiError(400, f"Invalid task id '{malformed[0]}'.")
        tasks = [task for id_ in dict.fromkeys(ids) if (task := self.supervisor.task(id_))]
        self.kill(tasks, lambda: {"tasks": [self.task_json(task) for task in tasks]})


class ReadFileHandler(MarathonHandler):
    """The Mesos agent's `/files/read`, for the files of tasks."""

    def get(self, agent_id: str) -> None:
        # /frameworks/<framework>/executors/<task>/runs/latest/<file>
        parts = self.get_query_argument("path", "").strip("/").split("/")
        if agent_id != self.engine.agent_id or len(parts) != 7 or parts[6] not in READABLE:
            raise ApiError(404, "No such file")
        path = self.supervisor.folders.of_task(parts[3]) / parts[6]
        if parts[1] != self.engine.framework_id or ".." in parts[3] or not path.is_file():
            raise ApiError(404, "No such file")
        offset = self._integer("offset", 0)
        length = self._integer("length", FILE_CHUNK_BYTES)
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if offset < 0:
                self.send({"data": "", "offset": size})
                return
            file.seek(offset)
            data = file.read(max(0, min(length, FILE_CHUNK_BYTES)))
        self._send_bytes(data, offset)

    def _send_bytes(self, data: bytes, offset: int) -> None:
        """Send the bytes unchanged, as Mesos does, even if they are not UTF-8: a chunk of a file
        may end in the middle of a character."""
        body = {"data": data.decode("utf-8", "surrogateescape"), "offset": offset}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        self.set_header("Content-Type", "application/json")
        self.finish(text.encode("utf-8", "surrogateescape"))

    def _integer(self, name: str, default: int) -> int:
        text = self.get_query_argument(name, str(default))
        if not text.removeprefix("-").isdecimal():
            raise ApiError(400, f"{name}={text!r} is not an integer")
        return int(text)


def _status(task: Task) -> str:
    """Return the task's status in the words of `?status=`."""
    return "running" if task.running else "staging"
