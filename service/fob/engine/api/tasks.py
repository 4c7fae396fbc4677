"""Tasks: listing and killing them, and reading what they left in their folders."""

import json
import re
from collections.abc import Callable, Iterable

from fob.engine.api.base import Handler
from fob.engine.definitions import app_definitions
from fob.engine.definitions.field_types import (
    Faults,
    fault,
    list_of,
    text,
)
from fob.engine.errors import ApiError, invalid
from fob.engine.runtime.task_folders import READABLE
from fob.engine.tasks import marathon_json
from fob.engine.tasks.app import App
from fob.engine.tasks.marathon_json import Json
from fob.engine.tasks.task import Task

FILE_CHUNK_BYTES = 2**20
_IDS = list_of(text())
_TASK_ID = re.compile(r".+[._][^._]+")


class Killing(Handler):
    """Stops tasks; `?scale=true` for good, `?wipe=true` with the volumes that they do not have."""

    def kill(self, tasks: list[Task], killed: Callable[[], Json]) -> None:
        """Answer with the deployment that there is with `scale`, else with `killed`."""
        scale = self.flag("scale")
        if scale and self.flag("wipe"):
            raise ApiError(400, "You cannot use scale and wipe at the same time.")
        if deployment := self.changes.kill(tasks, scale, self.flag("force")):
            self.send_deployment(deployment)
        else:
            self.send(killed())


class TaskListing(Handler):
    def send_tasks(self, apps: Iterable[App], wanted: Callable[[Task], bool] = bool) -> None:
        """The tasks of these apps; as lines for scripts where text is asked for."""
        if self.request.headers.get("Accept", "").startswith("text/plain"):
            self.set_header("Content-Type", "text/plain")
            self.finish("".join(marathon_json.endpoints(app, self.supervisor.host) for app in apps))
            return
        tasks = [task for app in apps for task in app.tasks.values() if wanted(task)]
        self.send({"tasks": [self.task_json(task) for task in tasks]})


class AppTasks(Killing, TaskListing):
    def get(self, app_id: str) -> None:
        self.send_tasks([self.app(app_id)])

    def delete(self, app_id: str) -> None:
        host = self.get_query_argument("host", "*")
        here = host in ("*", self.supervisor.host)
        tasks = list(self.app(app_id).tasks.values()) if here else []
        self.kill(tasks, lambda: {"tasks": [self.task_json(task) for task in tasks]})


class AppTask(Killing):
    def delete(self, app_id: str, task_id: str) -> None:
        task = self.app(app_id).tasks.get(task_id)
        if task is None:
            raise ApiError(404, f"Task '{task_id}' does not exist")
        self.kill([task], lambda: {"task": self.task_json(task)})


class GroupTasks(TaskListing):
    """`/v2/apps/<group>/*/tasks`: the tasks of every app below a group."""

    def get(self, group: str) -> None:
        tree = self.changes.tree(app_definitions.absolute(group))
        self.send_tasks([self.supervisor.apps[app_id] for app_id in tree.apps])


class TasksHandler(TaskListing):
    def get(self) -> None:
        asked = self.get_query_arguments("status") + self.get_query_arguments("status[]")
        wanted = {word.lower() for word in asked} & {"running", "staging"}
        apps = self.supervisor.apps.values()
        self.send_tasks(apps, lambda task: not wanted or _status(task) in wanted)


class TasksDelete(Killing):
    def post(self) -> None:
        body = self.body()
        ids = body.get("ids") if isinstance(body, dict) else None
        if ids is None:
            raise invalid([fault("/ids", "error.path.missing")])
        faults: Faults = []
        _IDS(ids, (None, "ids"), faults)
        if faults:
            raise invalid(faults)
        if wrong := [id_ for id_ in ids if not _TASK_ID.fullmatch(id_)]:
            raise ApiError(400, f"Invalid task id '{wrong[0]}'.")
        tasks = [task for id_ in dict.fromkeys(ids) if (task := self.supervisor.task(id_))]
        self.kill(tasks, lambda: {"tasks": [self.task_json(task) for task in tasks]})


class ReadFile(Handler):
    """The Mesos agent's `/files/read`, for the files of tasks."""

    def get(self, agent_id: str) -> None:
        parts = self.get_query_argument("path", "").strip("/").split("/")
        if agent_id != self.house.agent_id or len(parts) != 7 or parts[6] not in READABLE:
            raise ApiError(404, "No such file")
        path = self.supervisor.folders.of_task(parts[3]) / parts[6]
        if parts[1] != self.house.framework_id or ".." in parts[3] or not path.is_file():
            raise ApiError(404, "No such file")
        offset = self._whole("offset", 0)
        length = self._whole("length", FILE_CHUNK_BYTES)
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if offset < 0:
                self.send({"data": "", "offset": size})
                return
            file.seek(offset)
            data = file.read(max(0, min(length, FILE_CHUNK_BYTES)))
        self._send_bytes(data, offset)

    def _send_bytes(self, data: bytes, offset: int) -> None:
        """As Mesos does: bytes as they are, also where they are no UTF-8, such as a part of a
        character whose rest is in the next piece."""
        body = {"data": data.decode("utf-8", "surrogateescape"), "offset": offset}
        text = json.dumps(body, ensure_ascii=False)
        self.set_header("Content-Type", "application/json")
        self.finish(text.encode("utf-8", "surrogateescape"))

    def _whole(self, name: str, default: int) -> int:
        text = self.get_query_argument(name, str(default))
        if not text.removeprefix("-").isdecimal():
            raise ApiError(400, f"{name}={text!r} is not a whole number")
        return int(text)


def _status(task: Task) -> str:
    """The word by which `?status=` asks for it."""
    return "running" if task.ready else "staging"
