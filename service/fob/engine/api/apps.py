"""Apps and their versions."""

from http import HTTPStatus
from typing import Any

from fob.engine.api import embeds, selectors
from fob.engine.api.base import MarathonHandler
from fob.engine.definitions import app_definitions
from fob.engine.definitions.app_definitions import Definition, fault
from fob.engine.definitions.field_types import undefined
from fob.engine.errors import ApiError, invalid
from fob.engine.tasks.app import App


class AppsHandler(MarathonHandler):
    def get(self) -> None:
        label = selectors.label_selector(self.get_query_argument("label", ""))
        id_, cmd = (self.get_query_argument(name, "") for name in ("id", "cmd"))
        apps = self.supervisor.apps.values()
        selected = [app for app in apps if selectors.selects(app.definition, id_, cmd, label)]
        embed = embeds.of_apps(self.embedded())
        self.send({"apps": [self.app_json(app, embed) for app in selected]})

    def post(self) -> None:
        definition = app_definitions.complete(self.body())
        self.publish_api_event(definition)
        deployment = self.changes.create(definition, self.flag("force"))
        app = self.supervisor.apps[definition["id"]]
        self.set_header("Location", f"/v2/apps{app.id}")
        self.set_header("Marathon-Deployment-Id", deployment.id)
        body = self.app_json(app) | {"deployments": [{"id": deployment.id}]}
        self.send(body, 201)

    def put(self) -> None:
        """Create or update several apps: a list of bodies as of `PUT /v2/apps/<id>`, with ids."""
        self._deploy(self._bodies())

    def patch(self) -> None:
        """Update several existing apps."""
        bodies = self._bodies()
        for app_id, _ in bodies:
            self.app(app_id)
        self._deploy(bodies)

    def _bodies(self) -> list[tuple[str, Any]]:
        """Return the bodies in the request, each with the id of its app."""
        bodies = self.body()
        if not isinstance(bodies, list):
            raise invalid([fault("/", "error.expected.jsarray")])
        for index, body in enumerate(bodies):
            if not isinstance(body, dict):
                raise invalid([fault(f"({index})", "error.expected.jsobject")])
            if not isinstance(body.get("id"), str):
                raise invalid([fault(f"({index})/id", undefined("id", body))])
        return [(app_definitions.resolve(body["id"], "/"), body) for body in bodies]

    def _deploy(self, bodies: list[tuple[str, Any]]) -> None:
        definitions = [self.changed(app_id, body) for app_id, body in bodies]
        for definition in definitions:
            self.publish_api_event(definition)
        self.send_deployment(self.changes.put(definitions, self.flag("force")))


class AppsBelowHandler(MarathonHandler):
    """`/v2/apps/<group>/*`: every app below a group, with tasks."""

    def get(self, group: str) -> None:
        below = app_definitions.absolute(group).rstrip("/") + "/"
        apps = [app for app in self.supervisor.apps.values() if app.id.startswith(below)]
        if not apps and group:
            raise ApiError(404, f"Group '{below[:-1]}' does not exist")
        embed = embeds.of_apps(self.embedded()) | embeds.ONE_APP
        self.send({"*": [self.app_json(app, embed) for app in apps]})


class AppHandler(MarathonHandler):
    def get(self, app_id: str) -> None:
        embed = embeds.of_apps(self.embedded()) | embeds.ONE_APP
        self.send({"app": self.app_json(self.app(app_id), embed)})

    def put(self, app_id: str) -> None:
        app_id = app_definitions.absolute(app_id)
        new = app_id not in self.supervisor.apps
        self._deploy(self.changed(app_id, self.body()), 201 if new else 200)

    def patch(self, app_id: str) -> None:
        self._deploy(self.changed(self.app(app_id).id, self.body()), 200)

    def delete(self, app_id: str) -> None:
        app = self.app(app_id)
        # as in Marathon, without waiting for the app's deployments
        self.send_deployment(self.changes.remove(app, self.flag("force", default=True)))

    def _deploy(self, definition: Definition, status: int) -> None:
        self.publish_api_event(definition)
        if status == HTTPStatus.CREATED:
            self.set_header("Location", f"/v2/apps{definition['id']}")
        self.send_deployment(self.changes.put([definition], self.flag("force")), status)


class RestartHandler(MarathonHandler):
    def post(self, app_id: str) -> None:
        app = self.app(app_id)
        self.send_deployment(self.changes.restart(app, self.flag("force")))


class AppVersionsHandler(MarathonHandler):
    def get(self, app_id: str) -> None:
        self.send({"versions": self.changes.versions(self.app(app_id))})


class AppVersionHandler(MarathonHandler):
    def get(self, app_id: str, version: str) -> None:
        app: App = self.app(app_id)
        self.send(self.version_of(app, version))
