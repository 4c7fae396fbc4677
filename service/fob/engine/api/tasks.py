"""Tasks: listing and killing them, and reading what they left in their folders."""

from typing import Any

from fob.engine.api.base import Handler
from fob.engine.files import READABLE
from fob.engine.refusals import Refusal

FILE_CHUNK_BYTES = 2**20


class AppTasks(Handler):
    def get(self, app_id: str) -> None:
        self.send({"tasks": [self.task_json(task) for task in self.app(app_id).tasks.values()]})

    def delete(self, app_id: str) -> None:
        host = self.get_query_argument("host", "*")
        tasks = list(self.app(app_id).tasks.values()) if host in ("*", self._host()) else []
        deployments = self.supervisor.kill(tasks, self.flag("scale"), self.flag("force"))
        if deployments:
            self.send_deployment(deployments[0])
        else:
            self.send({"tasks": [self.task_json(task) for task in tasks]})

    def _host(self) -> str:
        return self.supervisor.host


class AppTask(Handler):
    def delete(self, app_id: str, task_id: str) -> None:
        task = self.app(app_id).tasks.get(task_id)
        if task is None:
            raise Refusal(404, f"Task '{task_id}' does not exist")
        deployments = self.supervisor.kill([task], self.flag("scale"), self.flag("force"))
        if deployments:
            self.send_deployment(deployments[0])
        else:
            self.send({"task": self.task_json(task)})


class Tasks(Handler):
    def get(self) -> None:
        tasks = [t for app in self.supervisor.apps.values() for t in app.tasks.values()]
        self.send({"tasks": [self.task_json(task) for task in tasks]})


class TasksDelete(Handler):
    def post(self) -> None:
        body = self.body()
        ids = body.get("ids") if isinstance(body, dict) else None
        if not isinstance(ids, list):
            raise Refusal(422, "Object is not valid", details=[_fault("/ids")])
        tasks = [task for id_ in ids if (task := self.supervisor.task(str(id_)))]
        deployments = self.supervisor.kill(tasks, self.flag("scale"), self.flag("force"))
        if deployments:
            self.send_deployment(deployments[0])
        else:
            self.send({"tasks": [self.task_json(task) for task in tasks]})


class ReadFile(Handler):
    """The Mesos agent's `/files/read`, for the files of tasks."""

    def get(self, agent_id: str) -> None:
        parts = self.get_query_argument("path", "").strip("/").split("/")
        if agent_id != self.house.agent_id or len(parts) != 7 or parts[6] not in READABLE:
            raise Refusal(404, "No such file")
        path = self.supervisor.folders.of_task(parts[3]) / parts[6]
        if parts[1] != self.house.framework_id or ".." in parts[3] or not path.is_file():
            raise Refusal(404, "No such file")
        offset = self._whole("offset", 0)
        length = self._whole("length", FILE_CHUNK_BYTES)
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if offset < 0:
                self.send({"data": "", "offset": size})
                return
            file.seek(offset)
            data = file.read(max(0, min(length, FILE_CHUNK_BYTES)))
        self.send({"data": data.decode("utf-8", "replace"), "offset": offset})

    def _whole(self, name: str, default: int) -> int:
        text = self.get_query_argument(name, str(default))
        if not text.removeprefix("-").isdecimal():
            raise Refusal(400, f"{name}={text!r} is not a whole number")
        return int(text)


def _fault(path: str) -> dict[str, Any]:
    return {"path": path, "errors": ["error.path.missing"]}
