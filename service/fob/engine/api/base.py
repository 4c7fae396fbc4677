"""The base of all API handlers: authentication, JSON, and Marathon's error bodies."""

import base64
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler

from fob.engine import chunks, errors
from fob.engine.api import embeds, strict
from fob.engine.control.changes import Changes
from fob.engine.control.deployment import Deployment
from fob.engine.control.supervisor import Supervisor
from fob.engine.definitions import app_definitions, timestamps
from fob.engine.definitions.app_definitions import Definition, fault
from fob.engine.errors import ApiError
from fob.engine.events import Events
from fob.engine.runtime.resources import Resources
from fob.engine.tasks import marathon_json, statistics
from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task

# DC/OS's own scheme, for `token=`, comes first: its old command line uses the first it supports
CHALLENGE = 'acsjwt,Basic realm="fob engine"'
MAX_BODY_BYTES = 4 * 2**20
_NO_CACHE = {
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Pragma": "no-cache",
    "Expires": "0",
}


@dataclass(frozen=True)
class EngineParts:
    """The parts of the engine that the handlers use."""

    supervisor: Supervisor
    changes: Changes
    events: Events
    resources: Resources
    attributes: dict[str, str]  # of this machine
    token: str
    framework_id: str
    address: str  # host:port

    @property
    def agent_id(self) -> str:
        return self.supervisor.agent_id


class MarathonHandler(RequestHandler):
    engine: EngineParts

    def initialize(self, engine: EngineParts) -> None:
        self.engine = engine
        self.supervisor = engine.supervisor
        self.changes = engine.changes

    def prepare(self) -> None:
        if not _has_token(self.request, self.engine.token):
            raise ApiError(401, "This engine requires its token: Authorization: token=<token>")

    def set_default_headers(self) -> None:
        for name, value in _NO_CACHE.items():
            self.set_header(name, value)
        self.set_header("X-Marathon-Leader", self.settings["leader"])

    def head(self, *path: str) -> Any:
        return self.get(*path)

    def options(self, *path: str) -> None:
        self.set_header("Allow", self._allowed())

    def _allowed(self) -> str:
        """The methods that this handler implements, comma-separated."""
        return ", ".join(
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), "get" if method == "HEAD" else method.lower())
            is not getattr(RequestHandler, method.lower())
        )

    def send(self, body: Any, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(chunks.to_json(body))

    def send_deployment(self, deployment: Deployment, status: int = 200) -> None:
        self.set_header("Marathon-Deployment-Id", deployment.id)
        self.send({"version": deployment.version, "deploymentId": deployment.id}, status)

    def body(self, empty: Any = None) -> Any:
        """Return the request's JSON; `empty`, if given, when the request has no body."""
        if not self.request.body and empty is not None:
            return empty
        if len(self.request.body) > MAX_BODY_BYTES:
            size = f"{len(self.request.body)} bytes, and {MAX_BODY_BYTES} is the maximum"
            raise ApiError(413, f"The body of this request has {size}")
        if not self.request.body:
            details = "No content to map due to end-of-input"
            raise ApiError(400, "Please specify data in JSON format", details=details)
        try:
            return strict.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise ApiError(400, "Invalid JSON", details=str(error)) from error

    def flag(self, name: str, default: bool = False) -> bool:
        return self.get_query_argument(name, str(default)).lower() == "true"

    def embedded(self) -> list[str]:
        """Return the names in `?embed=`, which may be repeated or comma-separated."""
        return [e.strip() for given in self.get_query_arguments("embed") for e in given.split(",")]

    def app(self, app_id: str) -> App:
        """Return an app; raises `ApiError` 404 if it does not exist."""
        app_id = app_definitions.absolute(app_id)
        if app_id not in self.supervisor.apps:
            raise errors.app_not_found(app_id)
        return self.supervisor.apps[app_id]

    def changed(self, app_id: str, body: Any) -> Definition:
        """Return the definition of a new or existing app after a PUT or PATCH of `body`.

        The fields of `body` replace those of the app, with `?partialUpdate=false` all of them;
        `{"version": ...}` brings back an earlier version.
        """
        app = self.supervisor.apps.get(app_id)
        if app is None or not self.flag("partialUpdate", default=True):
            return app_definitions.complete(body, app_id)
        if isinstance(body, dict) and body.get("version") is not None:
            return self._earlier_version(app, body)
        return app_definitions.merge(app.definition, body, app_id)

    def _earlier_version(self, app: App, body: dict[str, Any]) -> Definition:
        if any(body[key] is not None for key in body.keys() - {"id", "version"}):
            message = "The 'version' field may only be combined with the 'id' field."
            raise errors.invalid([fault("/", message)])
        return self.version_of(app, body["version"])

    def version_of(self, app: App, given: Any) -> Definition:
        """Return the app's definition at the version `given`; raises `ApiError` 404 if that is not
        stored, 422 if it is not a timestamp."""
        version = timestamps.in_utc(given)
        definition = self.changes.definition(app, version)
        if definition is None:
            raise ApiError(404, f"App '{app.id}' does not exist in version {version}")
        return definition

    def publish_api_event(self, definition: Definition) -> None:
        """Publish that a client has sent this app, without `env`: it may be long or secret."""
        published = {key: value for key, value in definition.items() if key != "env"}
        self.engine.events.publish(
            "api_post_event",
            clientIp=self.request.remote_ip,
            uri=self.request.path,
            appDefinition=published,
        )

    def app_json(self, app: App, embed: Collection[str] = embeds.ONE_APP) -> marathon_json.Json:
        deployment = self.supervisor.deployments.of(app.id)
        ids = [deployment.id] if deployment else []
        body = self.omit_long(marathon_json.app(app, ids))
        if embeds.TASKS in embed:
            body["tasks"] = [self.task_json(task) for task in app.tasks.values()]
        if app.failures and embeds.LAST_TASK_FAILURE in embed:
            body["lastTaskFailure"] = app.failures[-1]
        if embeds.READINESS in embed:
            body["readinessCheckResults"] = self.supervisor.readiness(app.id)
        if embeds.TASK_STATS in embed:
            body["taskStats"] = statistics.by_version(app)
        return body

    def omit_long(self, definition: Definition) -> Definition:
        """Apply `?omit=long`, this engine's extension: leave out the long values of `env`."""
        if self.get_query_argument("omit", "") != "long":
            return definition
        return definition | {"env": chunks.without_long(definition["env"])}

    def task_json(self, task: Task) -> marathon_json.Json:
        return marathon_json.task(task, self.supervisor.host, self.engine.agent_id)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, ApiError):
            if error.status == HTTPStatus.UNAUTHORIZED:
                self.set_header("WWW-Authenticate", CHALLENGE)
            self.send(error.body, error.status)
        else:
            message = error.log_message if isinstance(error, HTTPError) else None
            if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                self.set_header("Allow", self._allowed())
            self.send({"message": message or self._reason}, status_code)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, ApiError | HTTPError):
            super().log_exception(typ, value, tb)


class UnknownUriHandler(MarathonHandler):
    def prepare(self) -> None:
        raise ApiError(404, f"URI not found: {self.request.path}")


def _has_token(request: HTTPServerRequest, token: str) -> bool:
    """Whether `request` has the token in its Authorization: as `token=<token>` (DC/OS), Bearer, or
    the password of Basic."""
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
