"""A Marathon of any version over real HTTP, with a leader, standbys and an agent that runs tasks.

It rejects what that version's schema rejects, responds and sends events in that version's form, and
injects faults ("bad days") when a test asks for them.
"""

import contextlib
import json
import queue
import re
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from agent import Agent, free_port
from eras import App, Era
from mesos import FRAMEWORK, Mesos
from raw_server import Exchange, RawServer

PREFIX = "/service/marathon"
Go = Callable[[], None]
BadDay = Callable[[Exchange, Go], None]  # the request, and a function that carries it out


class ErrorResponse(Exception):
    """An error response: its status and body."""


class Cluster:
    """A Marathon's state; `url` is the address of the current leader."""

    def __init__(self, version: str, folder: Path) -> None:
        self.era = Era(version)
        self.apps: dict[str, App] = {}
        self.tasks: dict[str, list[App]] = {}
        self.queue: list[App] = []
        self.deaf = False  # no events are sent
        self.full = False  # no agent has room for another task
        self.host = "127.0.0.1"  # of the agent where tasks start
        self.authorization = ""
        self.asked: list[str] = []
        self._bad_days: list[tuple[str, BadDay]] = []
        self._agent = Agent(folder)
        self.mesos = Mesos(self._agent, old=not self.era.since(1, 5))
        self._lock = threading.RLock()
        self._streams: dict[queue.SimpleQueue[bytes | None], set[str]] = {}
        self._clock = datetime.now(UTC)
        self._servers: list[RawServer] = []
        self.leader = self.stand()

    @property
    def url(self) -> str:
        return self.leader.url + PREFIX

    def close(self) -> None:
        self.cut()
        for server in self._servers:
            server.close()
        self._agent.close()

    # faults

    def stand(self) -> RawServer:
        """Add a Marathon to this cluster, a standby unless it is the first."""
        server = RawServer(lambda exchange: self._play(exchange, server))
        self._servers.append(server)
        return server

    def bad(self, asked: str, day: BadDay, times: int = 1) -> None:
        """Let `day` handle the next requests that match `asked`, such as `GET /v2/apps`."""
        self._bad_days += [(asked, day)] * times

    def good(self) -> None:
        """Remove all faults."""
        self._bad_days.clear()

    def cut(self) -> None:
        """End every event stream."""
        with self._lock:
            for stream in self._streams:
                stream.put(None)
            self._streams.clear()

    def elect(self, server: RawServer) -> None:
        """Stop the leader and make `server` the leader."""
        dead, self.leader = self.leader, server
        self.cut()
        dead.close()

    def listeners(self) -> int:
        return len(self._streams)

    def tell(self, name: str, data: App) -> None:
        """Send an event to all event streams."""
        if self.deaf:
            return
        data = {"eventType": name, "timestamp": self._now()} | data
        frame = f"event: {name}\r\ndata: {json.dumps(data)}\r\n\r\n".encode()
        with self._lock:
            for stream, wanted in self._streams.items():
                if not wanted or name in wanted:
                    stream.put(frame)

    def pour(self, frames: bytes) -> None:
        """Send these bytes to all event streams."""
        with self._lock:
            for stream in self._streams:
                stream.put(frames)

    # requests

    def _play(self, exchange: Exchange, server: RawServer) -> None:
        asked = f"{exchange.method} {urlsplit(exchange.path).path.removeprefix(PREFIX)}"
        self.asked.append(asked)
        found = next((bad for bad in self._bad_days if asked.startswith(bad[0])), None)
        if found:
            self._bad_days.remove(found)
            found[1](exchange, lambda: self._answer(exchange, asked, server))
        else:
            self._answer(exchange, asked, server)

    def _answer(self, exchange: Exchange, asked: str, server: RawServer) -> None:
        query = parse_qs(urlsplit(exchange.path).query)
        if self.authorization and exchange.headers.get("authorization") != self.authorization:
            exchange.answer(401, b"<html><title>401 Unauthorized</title></html>")
        elif asked == "GET /v2/events" and server is not self.leader and self.era.redirects_events:
            place = f"{self.leader.url}{PREFIX}/v2/events?{urlsplit(exchange.path).query}"
            exchange.answer(302, b"", Location=place)
        elif asked == "GET /v2/events":
            self._stream(exchange, set(query.get("event_type", ())))
        elif re.match(self.era.agents, asked):
            self.mesos.play(exchange)
        else:
            status, body = self._routed(asked, exchange, {k: v[-1] for k, v in query.items()})
            exchange.answer(status, json.dumps(body).encode())

    def _routed(self, asked: str, exchange: Exchange, query: dict[str, str]) -> tuple[int, Any]:
        for pattern, verb in _ROUTES:
            if match := re.fullmatch(pattern, asked):
                body = json.loads(exchange.body) if exchange.body else query
                try:
                    with self._lock:
                        return verb(self, *match.groups(), body)
                except ErrorResponse as error:
                    return error.args
        return 404, {"message": "HTTP 404 Not Found"}

    def _stream(self, exchange: Exchange, wanted: set[str]) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
        exchange.send(b"Connection: close\r\n\r\n")
        stream: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        with self._lock:
            self._streams[stream] = wanted if self.era.filters_events else set()
        self.tell("event_stream_attached", {"remoteAddress": "127.0.0.1"})
        with contextlib.suppress(OSError):
            while (frame := stream.get()) is not None:
                exchange.send(frame)
        with self._lock:
            self._streams.pop(stream, None)
        with contextlib.suppress(OSError):
            exchange.sock.shutdown(2)

    # routes

    def post(self, definition: App) -> tuple[int, Any]:
        if faults := self.era.faults(definition):
            raise ErrorResponse(*self.era.invalid(faults))
        if definition["id"] in self.apps:
            raise ErrorResponse(
                409, {"message": f"An app with id [{definition['id']}] already exists."}
            )
        app = self.era.app(definition) | {"version": self._now()}
        app["versionInfo"] = {"lastConfigChangeAt": app["version"]}
        self.apps[app["id"]] = app
        self.tasks[app["id"]] = []
        self._changed("/fob-aviary", app["version"])
        answer = self._whole(app)
        self._scale(app)
        return 201, answer

    def get(self, app_id: str, _: Any = None) -> tuple[int, Any]:
        return 200, {"app": self._whole(self._app(app_id))}

    def all_of(self, group: str, _: Any) -> tuple[int, Any]:
        found = [app for app in self.apps.values() if app["id"].startswith(group + "/")]
        if not found:
            raise ErrorResponse(404, {"message": f"Group '{group}' does not exist"})
        return 200, {"*": [self._whole(app) for app in found]}

    def put(self, app_id: str, change: App) -> tuple[int, Any]:
        app = self._app(app_id)
        if faults := self.era.faults({"id": app_id, **change}):
            raise ErrorResponse(*self.era.invalid(faults))
        app |= change | {"version": self._now()}
        if change.keys() - {"instances"}:
            app["versionInfo"] = {"lastConfigChangeAt": app["version"]}
        self._changed("/fob-aviary", app["version"])
        self._scale(app)
        return 200, {"version": app["version"], "deploymentId": str(uuid.uuid4())}

    def delete(self, app_id: str, _: Any = None) -> tuple[int, Any]:
        self._app(app_id)
        return self._remove([app_id], "/fob-aviary")

    def delete_group(self, group: str, _: Any = None) -> tuple[int, Any]:
        found = [app_id for app_id in self.apps if app_id.startswith(group + "/")]
        return self._remove(found, group.rpartition("/")[0] or "/")

    def all_tasks(self, _: Any) -> tuple[int, Any]:
        tasks = [self.era.task(task) for tasks in self.tasks.values() for task in tasks]
        return 200, {"tasks": tasks}

    def deployments(self, _: Any) -> tuple[int, Any]:
        busy = [app_id for app_id in self.apps if self._deploys(app_id)]
        return 200, [{"id": "d", "affectedApps": [app_id]} for app_id in busy]

    def waiting(self, _: Any) -> tuple[int, Any]:
        return 200, {"queue": self.queue}

    def info(self, _: Any) -> tuple[int, Any]:
        return 200, {"frameworkId": FRAMEWORK, "version": self.era.version, "name": "marathon"}

    def leading(self, _: Any) -> tuple[int, Any]:
        return 200, {"leader": urlsplit(self.leader.url).netloc}

    # state

    def _app(self, app_id: str) -> App:
        if app_id not in self.apps:
            raise ErrorResponse(404, {"message": f"App '{app_id}' does not exist"})
        return self.apps[app_id]

    def _whole(self, app: App) -> App:
        tasks = self.tasks[app["id"]]
        shown = {"tasks": [self.era.task(task) for task in tasks], "tasksRunning": len(tasks)}
        shown["deployments"] = [{"id": "d"}] if self._deploys(app["id"]) else []
        return app | shown

    def _deploys(self, app_id: str) -> bool:
        tasks = self.tasks[app_id]
        return len(tasks) != self.apps[app_id]["instances"] or not all(t["alive"] for t in tasks)

    def _remove(self, app_ids: list[str], group: str) -> tuple[int, Any]:
        version = self._now()
        for app_id in app_ids:
            del self.apps[app_id]
        self._changed(group, version)
        for app_id in app_ids:
            for task in list(self.tasks[app_id]):
                self._kill(task)
            del self.tasks[app_id]
            self.tell("app_terminated_event", {"appId": app_id})
        return 200, {"version": version, "deploymentId": str(uuid.uuid4())}

    def move(self, app_id: str) -> None:
        """Kill the app's tasks; new ones start on an agent with room."""
        with self._lock:
            for task in list(self.tasks[app_id]):
                self._kill(task)
            self._scale(self.apps[app_id])

    def make_room(self) -> None:
        """Add an agent."""
        with self._lock:
            self.full = False
            self.queue.clear()
            for app in self.apps.values():
                self._scale(app)

    def _scale(self, app: App) -> None:
        """Start or kill tasks until the app has its instances in this version.

        An old task serves until a new one is healthy, unless the app may go below its capacity.
        """
        since = app["versionInfo"]["lastConfigChangeAt"]
        old = [task for task in self.tasks[app["id"]] if task["version"] < since]
        new = [task for task in self.tasks[app["id"]] if task not in old]
        least = app.get("upgradeStrategy", {}).get("minimumHealthCapacity", 1) * app["instances"]
        well = sum(task["alive"] is True for task in new)
        for task in [*new[app["instances"] :], *old[max(0, int(least) - well) :]]:
            self._kill(task)
        for _ in range(app["instances"] - len(new)):
            self._start(app)

    def _start(self, app: App) -> None:
        if self.full:
            rejected = [{"reason": "InsufficientMemory", "declined": 3, "processed": 3}]
            summary = {"processedOffersSummary": {"rejectSummaryLastOffers": rejected}}
            delay = {"timeLeftSeconds": 0, "overdue": True}
            self.queue = [{"app": app, "count": 1, "delay": delay} | summary]
            return
        task = self._task(app)
        self.tasks[app["id"]].append(task)
        self._update(task, "TASK_STAGING")
        self._agent.run(app, task, lambda: self._well(task), lambda code: self._over(task, code))
        task |= {"state": "TASK_RUNNING", "startedAt": self._now()}
        self._update(task, "TASK_RUNNING")

    def _task(self, app: App) -> App:
        id_, instance_id = self.era.ids(app["id"], str(uuid.uuid4()))
        return {
            "id": id_,
            "instanceId": instance_id,
            "appId": app["id"],
            "host": self.host,
            "ports": [free_port()],
            "servicePorts": [10000],
            "slaveId": "S1",
            "stagedAt": self._now(),
            "startedAt": None,
            "version": app["version"],
            "ipAddresses": [{"ipAddress": "127.0.0.1", "protocol": "IPv4"}],
            "localVolumes": [],
            "state": "TASK_STAGING",
            "alive": None,
        }

    def _well(self, task: App) -> None:
        with self._lock:
            task["alive"] = True
            for name, data in self.era.health(task):
                self.tell(name, data)
            if task in self.tasks.get(task["appId"], ()):
                self._scale(self.apps[task["appId"]])

    def _kill(self, task: App) -> None:
        self.tasks[task["appId"]].remove(task)
        self._agent.kill(task["id"])
        self._update(task, "TASK_KILLED")

    def _over(self, task: App, code: int) -> None:
        """The task has ended, by itself unless it was killed; it is not restarted."""
        with self._lock:
            if task not in self.tasks.get(task["appId"], ()):
                return
            self.tasks[task["appId"]].remove(task)
            message = f"Command exited with status {code}"
            kept = ("appId", "host", "version", "slaveId")
            failure = {key: task[key] for key in kept} | {"taskId": task["id"]}
            failure |= {"message": message, "state": "TASK_FAILED", "timestamp": self._now()}
            self.apps[task["appId"]]["lastTaskFailure"] = failure
            self.queue.append(self._backoff(task["appId"]))
            self._update(task, "TASK_FAILED", message)

    def _backoff(self, app_id: str) -> App:
        delay = {"timeLeftSeconds": 7, "overdue": False}
        return {"app": self.apps[app_id], "count": 1, "delay": delay}

    def _update(self, task: App, state: str, message: str = "") -> None:
        self.tell("status_update_event", self.era.status_update(task, state, message))

    def _changed(self, group: str, version: str) -> None:
        self.tell("group_change_success", {"groupId": group, "version": version})
        plan = {"original": {}, "target": {"apps": list(self.apps.values())}}
        self.tell("deployment_info", {"plan": plan})

    def _now(self) -> str:
        """Return the time, later than the time returned before."""
        self._clock = max(datetime.now(UTC), self._clock + timedelta(milliseconds=1))
        return self._clock.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


_ROUTES: list[tuple[str, Callable[..., tuple[int, Any]]]] = [
    (r"POST /v2/apps", Cluster.post),
    (r"GET /v2/apps(/.+)/\*", Cluster.all_of),
    (r"GET /v2/apps(/.+)", Cluster.get),
    (r"PUT /v2/apps(/.+)", Cluster.put),
    (r"DELETE /v2/apps(/.+)", Cluster.delete),
    (r"DELETE /v2/groups(/.+)", Cluster.delete_group),
    (r"GET /v2/tasks", Cluster.all_tasks),
    (r"GET /v2/deployments", Cluster.deployments),
    (r"GET /v2/queue", Cluster.waiting),
    (r"GET /v2/info", Cluster.info),
    (r"GET /v2/leader", Cluster.leading),
]
