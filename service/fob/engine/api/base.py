"""What every handler of the engine's API shares: authentication, JSON, Marathon's errors."""

import base64
import hmac
import json
from dataclasses import dataclass
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler

from fob.engine import definitions, refusals, wire
from fob.engine.app import App
from fob.engine.deployments import Deployment
from fob.engine.events import Events
from fob.engine.refusals import Refusal
from fob.engine.resources import Resources
from fob.engine.supervisor import Supervisor
from fob.engine.task import Task


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

    def prepare(self) -> None:
        if not _carries(self.request, self.house.token):
            self.set_header("WWW-Authenticate", 'Basic realm="fob engine"')
            raise Refusal(401, "This engine wants its token: Authorization: token=<token>")

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
