"""A scripted Marathon: real HTTP and events, and tasks only where the test places them."""

import asyncio
import json
from typing import Any

from tornado.web import Application, RequestHandler

VERSION = "2016-04-02T23:09:47.123Z"


class FakeMarathon:
    """Apps, queue and sandboxes, and scripted failures by method and path."""

    def __init__(self) -> None:
        self.apps: dict[str, dict[str, Any]] = {}
        self.queue: list[dict[str, Any]] = []
        self.files: dict[tuple[str, str], bytes] = {}
        self.asked: list[str] = []
        # "METHOD /path" -> (status, body); a body of None is never sent
        self.responses: dict[str, tuple[int, Any]] = {}
        self.streams: set[RequestHandler] = set()
        self.closed = asyncio.Event()

    def application(self) -> Application:
        common = {"fake": self}
        base = "/service/marathon/v2"
        return Application(
            [
                (rf"{base}/apps", Apps, common),
                (rf"{base}/apps/fob-aviary/\*", Group, common),
                (rf"{base}/apps(/.+)", App, common),
                (rf"{base}/tasks", Tasks, common),
                (rf"{base}/deployments", Deployments, common),
                (rf"{base}/queue", Queue, common),
                (rf"{base}/info", Info, common),
                (rf"{base}/events", Events, common),
                (r"/agent/S0/files/read", Files, common),
            ],
            log_function=lambda _: None,
        )

    def place(
        self,
        app_id: str,
        port: int,
        name: str = "1",
        ready: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        """Give the app a task at `port`, and publish the event."""
        state = "TASK_RUNNING" if ready else "TASK_STAGING"
        task = {
            "id": f"{app_id[1:].replace('/', '_')}.{name}",
            "appId": app_id,
            "host": host,
            "ports": [port],
            "slaveId": "S0",
            "state": state,
            "stagedAt": VERSION,
            "startedAt": VERSION if ready else None,
            "version": self.apps[app_id]["version"],
            "healthCheckResults": [{"alive": True}] if ready else [],
        }
        tasks = [t for t in self.apps[app_id]["tasks"] if t["id"] != task["id"]]
        self.apps[app_id]["tasks"] = [*tasks, task]
        self.tell("status_update_event", task | {"taskId": task["id"], "taskStatus": state})
        if ready:
            self.tell(
                "health_status_changed_event",
                {"appId": app_id, "taskId": task["id"], "alive": True},
            )

    def fail(self, app_id: str, message: str, name: str = "1") -> None:
        """End the app's tasks with a failure."""
        task_id = f"{app_id[1:].replace('/', '_')}.{name}"
        failure = {
            "appId": app_id,
            "taskId": task_id,
            "message": message,
            "state": "TASK_FAILED",
            "host": "127.0.0.1",
            "slaveId": "S0",
            "timestamp": VERSION,
            "version": VERSION,
        }
        self.apps[app_id] |= {"tasks": [], "lastTaskFailure": failure, "deployments": []}
        self.tell("status_update_event", failure | {"taskStatus": "TASK_FAILED"})

    def tell(self, event: str, data: dict[str, Any]) -> None:
        for stream in self.streams:
            stream.write(f"event: {event}\ndata: {json.dumps(data)}\n\n")
            stream.flush()

    def changed(self, version: str) -> None:
        """Publish that an app has changed."""
        self.tell("group_change_success", {"groupId": "/fob-aviary", "version": version})

    def close(self) -> None:
        """Release every request that hangs."""
        self.closed.set()


class Base(RequestHandler):
    def initialize(self, fake: FakeMarathon) -> None:
        self.fake = fake

    async def prepare(self) -> None:
        asked = f"{self.request.method} {self.request.path.removeprefix('/service/marathon')}"
        self.fake.asked.append(asked)
        for start, (status, body) in self.fake.responses.items():
            if asked.startswith(start):
                await self._answer(status, body)
                return

    async def _answer(self, status: int, body: Any) -> None:
        if body is None:
            await self.fake.closed.wait()
        self.set_status(status)
        self.finish(body or {})


class Apps(Base):
    def post(self) -> None:
        app = json.loads(self.request.body)
        app |= {"version": VERSION, "tasks": [], "deployments": [{"id": "d"}]}
        self.fake.apps[app["id"]] = app
        self.fake.changed(VERSION)
        self.set_status(201)
        self.write(app)


class Group(Base):
    def get(self) -> None:
        self.write({"*": list(self.fake.apps.values())})


class App(Base):
    def prepare_app(self, app_id: str) -> dict[str, Any] | None:
        if app_id not in self.fake.apps:
            self.set_status(404)
            self.write({"message": f"App '{app_id}' does not exist"})
        return self.fake.apps.get(app_id)

    def get(self, app_id: str) -> None:
        if app := self.prepare_app(app_id):
            self.write({"app": app})

    def put(self, app_id: str) -> None:
        if app := self.prepare_app(app_id):
            app |= json.loads(self.request.body)
            self.fake.changed(VERSION)
            self.write({"version": VERSION, "deploymentId": "d"})

    def delete(self, app_id: str) -> None:
        if self.prepare_app(app_id):
            del self.fake.apps[app_id]
            self.fake.changed(VERSION)
            self.write({"version": VERSION, "deploymentId": "d"})
            self.fake.tell("app_terminated_event", {"appId": app_id})


class Tasks(Base):
    def get(self) -> None:
        self.write(
            {"tasks": [task for app in self.fake.apps.values() for task in app.get("tasks", ())]}
        )


class Deployments(Base):
    def get(self) -> None:
        changing = [app_id for app_id, app in self.fake.apps.items() if app.get("deployments")]
        self.finish(json.dumps([{"id": "d", "affectedApps": changing}]))


class Queue(Base):
    def get(self) -> None:
        self.write({"queue": self.fake.queue})


class Info(Base):
    def get(self) -> None:
        self.write({"frameworkId": "F", "version": "1.5.8"})


class Events(Base):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.fake.streams.add(self)
        self.fake.tell("event_stream_attached", {})
        await self.fake.closed.wait()
        self.fake.streams.discard(self)

    def on_connection_close(self) -> None:
        self.fake.streams.discard(self)


class Files(Base):
    def get(self) -> None:
        parts = self.get_argument("path").split("/")
        content = self.fake.files.get((parts[4], parts[-1]))
        offset, length = int(self.get_argument("offset")), int(self.get_argument("length"))
        if content is None:
            self.set_status(404)
        elif offset == -1:
            self.write({"data": "", "offset": len(content)})
        else:
            data = content[offset : offset + length].decode("utf-8", "replace")
            self.write({"data": data, "offset": offset})
