"""Marathon's REST API over the supervisor: each handler reads the request, calls, and answers.

Everything is served under `/v2` and again under `/service/marathon/v2`, where DC/OS has it, and the
files of tasks under `/agent/<id>/files`, where DC/OS routes to the Mesos agent.
"""

import asyncio
import base64
import hmac
import json
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, HTTPError, RequestHandler

from fob.engine import definitions, refusals, wire
from fob.engine.app import App
from fob.engine.deployments import Deployment
from fob.engine.events import Events
from fob.engine.files import READABLE
from fob.engine.refusals import Refusal
from fob.engine.resources import Resources
from fob.engine.supervisor import Supervisor
from fob.engine.task import Task

log = logging.getLogger(__name__)

MARATHON_VERSION = "1.5.8"  # whose behaviour this API follows
HEARTBEAT_SECONDS = 15.0  # on an event stream, so that a reader knows a silent one from a dead one
FILE_CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class House:
    """What the handlers need."""

    supervisor: Supervisor
    events: Events
    resources: Resources
    token: str
    framework_id: str
    address: str  # host:port

    @property
    def agent_id(self) -> str:
        return self.supervisor.agent_id


class Handler(RequestHandler):
    """Authentication, JSON in and out, Marathon's error bodies."""

    house: House

    def initialize(self, house: House) -> None:
        self.house = house
        self.supervisor = house.supervisor

    def prepare(self) -> Awaitable[None] | None:
        if not _carries(self.request, self.house.token):
            self.set_header("WWW-Authenticate", 'Basic realm="fob engine"')
            raise Refusal(401, "This engine wants its token: Authorization: token=<token>")
        return None

    def send(self, body: Any, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(body))

    def send_deployment(self, deployment: Deployment, status: int = 200) -> None:
        self.set_header("Marathon-Deployment-Id", deployment.id)
        self.send({"version": deployment.version, "deploymentId": deployment.id}, status)

    def body(self, empty: Any = None) -> Any:
        """The request's JSON; `empty` when there is none and that is allowed."""
        if not self.request.body and empty is not None:
            return empty
        try:
            return json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise Refusal(400, "Invalid JSON", details=str(error)) from error

    def flag(self, name: str) -> bool:
        return self.get_query_argument(name, "false").lower() == "true"

    def app(self, app_id: str) -> App:
        app_id = definitions.absolute(app_id)
        if app_id not in self.supervisor.apps:
            raise refusals.no_app(app_id)
        return self.supervisor.apps[app_id]

    def app_json(self, app: App, tasks: bool = True) -> wire.Json:
        deployment = self.supervisor.deployments.of(app.id)
        ids = [deployment.id] if deployment else []
        if tasks:
            return wire.app_with_tasks(app, ids, self.supervisor.host, self.house.agent_id)
        return wire.app(app, ids)

    def task_json(self, task: Task) -> wire.Json:
        return wire.task(task, self.supervisor.host, self.house.agent_id)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Refusal):
            self.send(error.body, error.status)
        else:
            message = error.log_message if isinstance(error, HTTPError) else None
            self.send({"message": message or self._reason}, status_code)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, Refusal | HTTPError):
            super().log_exception(typ, value, tb)


class NotFound(Handler):
    def prepare(self) -> None:
        raise Refusal(404, "HTTP 404 Not Found")


class Ping(RequestHandler):
    def get(self) -> None:
        if "json" in self.request.headers.get("Accept", ""):
            self.set_header("Content-Type", "application/json")
            self.finish('"pong"')
        else:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish("pong")


class Info(Handler):
    def get(self) -> None:
        self.send(
            {
                "name": "marathon",
                "version": MARATHON_VERSION,
                "buildref": "fob",
                "elected": True,
                "leader": self.house.address,
                "frameworkId": self.house.framework_id,
                "marathon_config": {"ha": False, "hostname": self.supervisor.host},
                "zookeeper_config": {},
                "event_subscriber": None,
                "http_config": {"http_port": int(self.house.address.rpartition(":")[2])},
            }
        )


class Leader(Handler):
    def get(self) -> None:
        self.send({"leader": self.house.address})


class Plugins(Handler):
    def get(self) -> None:
        self.send({"plugins": []})


class Apps(Handler):
    def get(self) -> None:
        wanted = [app for app in self.supervisor.apps.values() if self._selected(app)]
        tasks = any("tasks" in embed for embed in self.get_query_arguments("embed"))
        self.send({"apps": [self.app_json(app, tasks) for app in wanted]})

    def _selected(self, app: App) -> bool:
        part = self.get_query_argument("id", "")
        command = self.get_query_argument("cmd", "")
        selector = self.get_query_argument("label", "")
        return (
            part in app.id
            and command in (app.definition["cmd"] or "")
            and _labelled(app.definition["labels"], selector)
        )

    def post(self) -> None:
        app, deployment = self.supervisor.create(definitions.complete(self.body()))
        self.set_header("Location", f"/v2/apps{app.id}")
        self.set_header("Marathon-Deployment-Id", deployment.id)
        body = self.app_json(app) | {"deployments": [{"id": deployment.id}]}
        self.send(body, 201)


class GroupApps(Handler):
    """`/v2/apps/<group>/*`: every app below a group, with tasks."""

    def get(self, group: str) -> None:
        below = definitions.absolute(group).rstrip("/") + "/"
        apps = [app for app in self.supervisor.apps.values() if app.id.startswith(below)]
        if not apps and group:
            raise Refusal(404, f"Group '{below[:-1]}' does not exist")
        self.send({"*": [self.app_json(app) for app in apps]})


class OneApp(Handler):
    def get(self, app_id: str) -> None:
        self.send({"app": self.app_json(self.app(app_id))})

    def put(self, app_id: str) -> None:
        app_id = definitions.absolute(app_id)
        body = self.body()
        app = self.supervisor.apps.get(app_id)
        if app is None:
            _, deployment = self.supervisor.create(definitions.complete(body, app_id))
            self.send_deployment(deployment, 201)
            return
        self._change(app, body)

    def patch(self, app_id: str) -> None:
        self._change(self.app(app_id), self.body())

    def delete(self, app_id: str) -> None:
        app = self.app(app_id)
        self.send_deployment(self.supervisor.remove(app, self.flag("force")))

    def _change(self, app: App, body: Any) -> None:
        if isinstance(body, dict) and set(body) == {"version"}:
            body = self.supervisor.definition(app, str(body["version"]))
            if body is None:
                raise Refusal(422, "Object is not valid", details=[_no_version()])
        changed = definitions.merge(app.definition, body, app.id)
        self.send_deployment(self.supervisor.change(app, changed, self.flag("force")))


class Restart(Handler):
    def post(self, app_id: str) -> None:
        app = self.app(app_id)
        self.send_deployment(self.supervisor.restart(app, self.flag("force")))


class Versions(Handler):
    def get(self, app_id: str) -> None:
        self.send({"versions": self.supervisor.versions(self.app(app_id))})


class Version(Handler):
    def get(self, app_id: str, version: str) -> None:
        app = self.app(app_id)
        definition = self.supervisor.definition(app, version)
        if definition is None:
            raise Refusal(404, f"App '{app.id}' version '{version}' does not exist")
        self.send(definition)


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


class Queue(Handler):
    def get(self) -> None:
        offer = wire.offer(*self.house.resources.free(), self.supervisor.host, self.house.agent_id)
        apps = self.supervisor.apps.values()
        self.send({"queue": [wire.queue_item(app, offer) for app in apps if app.waiting]})


class QueueDelay(Handler):
    def delete(self, app_id: str) -> None:
        app = self.app(app_id)
        if app.waiting is None:
            raise Refusal(404, f"Application {app.id} not found in tasks queue.")
        self.supervisor.skip_backoff(app)
        self.set_status(204)


class AllDeployments(Handler):
    def get(self) -> None:
        self.send([deployment.json() for deployment in self.supervisor.deployments.all()])


class Groups(Handler):
    """Groups are the paths that apps have; one exists while an app is below it."""

    def get(self, group: str | None) -> None:
        group_id = definitions.absolute(group or "")
        if not self._below(group_id) and group_id != "/":
            raise Refusal(404, f"Group '{group_id}' does not exist")
        self.send(self._tree(group_id))

    def delete(self, group: str | None) -> None:
        group_id = definitions.absolute(group or "")
        apps = self._below(group_id)
        if not apps:
            raise Refusal(404, f"Group '{group_id}' does not exist")
        for app in apps:
            self.supervisor.deployments.check_unlocked(app.id, self.flag("force"))
        deployments = [self.supervisor.remove(app, force=True) for app in apps]
        self.send_deployment(deployments[0])

    def _below(self, group_id: str) -> list[App]:
        prefix = group_id.rstrip("/") + "/"
        return [app for app in self.supervisor.apps.values() if app.id.startswith(prefix)]

    def _tree(self, group_id: str) -> wire.Json:
        depth = len([part for part in group_id.split("/") if part]) + 1
        apps, groups = [], set()
        for app in self._below(group_id):
            parts = app.id.split("/")
            if len(parts) == depth + 1:
                apps.append(self.app_json(app, tasks=False))
            else:
                groups.add("/".join(parts[: depth + 1]))
        return {
            "id": group_id,
            "apps": apps,
            "groups": [self._tree(group) for group in sorted(groups)],
            "dependencies": [],
            "pods": [],
        }


class EventStream(Handler):
    """Server-sent events; `?event_type=` filters, `Last-Event-ID` asks for what was missed."""

    async def get(self) -> None:
        if "text/event-stream" not in self.request.headers.get("Accept", ""):
            raise Refusal(405, "This endpoint speaks text/event-stream only; send Accept")
        last = self.request.headers.get("Last-Event-ID", "")
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        types = self.get_query_arguments("event_type")
        self._stream = self.house.events.attach(types, int(last) if last.isdigit() else None)
        self.house.events.publish("event_stream_attached", remoteAddress=self.request.remote_ip)
        await self.flush()
        try:
            await self._write_all()
        finally:
            self.house.events.detach(self._stream)

    async def _write_all(self) -> None:
        while True:
            try:
                event = await asyncio.wait_for(self._stream.next(), HEARTBEAT_SECONDS)
            except TimeoutError:
                self.write(b"\r\n")
                await self.flush()
                continue
            if event is None:
                return
            self.write(event.frame)
            await self.flush()

    def on_connection_close(self) -> None:
        self._stream.end()


class ReadFile(Handler):
    """The Mesos agent's `/files/read`, for the files of tasks."""

    def get(self, agent_id: str) -> None:
        parts = self.get_query_argument("path", "").strip("/").split("/")
        if agent_id != self.house.agent_id or len(parts) != 7 or parts[6] not in READABLE:
            raise Refusal(404, "No such file")
        path = self.supervisor.task_folder(parts[3]) / parts[6]
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


def application(house: House) -> Application:
    """All routes. A request that matches none is answered 404 in Marathon's shape."""
    routes = [(prefix + path, handler) for prefix in PREFIXES for path, handler in ROUTES]
    return Application(
        [(path, handler, {"house": house}) for path, handler in [*routes, *AGENT_ROUTES]]
        + [(path, Ping) for path in (r"/ping", r"/service/marathon/ping")],
        default_handler_class=NotFound,
        default_handler_args={"house": house},
        log_function=_log_request,
    )


PREFIXES = ("", r"/+service/+marathon")
_ID = r"/*(.+?)"
ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/+v2/+info/*", Info),
    (r"/+v2/+leader/*", Leader),
    (r"/+v2/+plugins/*", Plugins),
    (r"/+v2/+tasks/*", Tasks),
    (r"/+v2/+tasks/+delete/*", TasksDelete),
    (r"/+v2/+queue/*", Queue),
    (rf"/+v2/+queue{_ID}/+delay/*", QueueDelay),
    (r"/+v2/+deployments/*", AllDeployments),
    (r"/+v2/+events/*", EventStream),
    (r"/+v2/+groups(?:/+(.*?))?/*", Groups),
    (r"/+v2/+apps/*", Apps),
    (r"/+v2/+apps(?:/*(.*?))/+\*", GroupApps),
    (rf"/+v2/+apps{_ID}/+restart/*", Restart),
    (rf"/+v2/+apps{_ID}/+versions/*", Versions),
    (rf"/+v2/+apps{_ID}/+versions/+([^/]+)/*", Version),
    (rf"/+v2/+apps{_ID}/+tasks/*", AppTasks),
    (rf"/+v2/+apps{_ID}/+tasks/+([^/]+)/*", AppTask),
    (rf"/+v2/+apps{_ID}/*", OneApp),
]
AGENT_ROUTES: list[tuple[str, type[Handler]]] = [(r"/agent/([^/]+)/files/read", ReadFile)]


def _carries(request: HTTPServerRequest, token: str) -> bool:
    """True when `request` has the engine's token, in any of the ways that clients send one."""
    header = request.headers.get("Authorization", "")
    scheme, _, credentials = header.partition(" ")
    if header.startswith("token="):
        given = header[len("token=") :]
    elif scheme.lower() == "bearer":
        given = credentials.strip()
    elif scheme.lower() == "basic":
        given = _basic_password(credentials)
    else:
        return False
    return hmac.compare_digest(given.encode(), token.encode())


def _basic_password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def _labelled(labels: dict[str, str], selector: str) -> bool:
    """True when `labels` meet the selector: `key`, `key==value`, `key!=value`, comma for and."""
    for part in (part.strip() for part in selector.split(",") if part.strip()):
        for operator in ("!=", "=="):
            key, found, value = part.partition(operator)
            if found:
                break
        met = key.strip() in labels
        if found:
            met = (labels.get(key.strip()) == value.strip()) == (operator == "==")
        if not met:
            return False
    return True


def _fault(path: str) -> dict[str, Any]:
    return {"path": path, "errors": ["error.path.missing"]}


def _no_version() -> dict[str, Any]:
    return {"path": "/version", "errors": ["no such version of this app"]}


def _log_request(handler: RequestHandler) -> None:
    milliseconds = 1000 * handler.request.request_time()
    log.debug(
        "%s %s %d %.1fms",
        handler.request.method,
        handler.request.path,
        handler.get_status(),
        milliseconds,
    )
