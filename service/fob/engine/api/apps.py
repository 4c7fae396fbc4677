"""Apps and their versions."""

from typing import Any

from fob.engine.api import selectors
from fob.engine.api.base import Handler
from fob.engine.definitions import definitions
from fob.engine.definitions.definitions import Definition, fault
from fob.engine.refusals import Refusal, invalid
from fob.engine.tasks.app import App


class Apps(Handler):
    def get(self) -> None:
        label = selectors.label_selector(self.get_query_argument("label", ""))
        id_, cmd = (self.get_query_argument(name, "") for name in ("id", "cmd"))
        apps = self.supervisor.apps.values()
        wanted = [app for app in apps if selectors.selected(app.definition, id_, cmd, label)]
        self.send({"apps": [self.app_json(app, self.embedded()) for app in wanted]})

    async def post(self) -> None:
        definition = definitions.complete(self.body())
        self.tell_api_event(definition)
        deployment = self.changes.create(definition, self.flag("force"))
        app = self.supervisor.apps[definition["id"]]
        self.set_header("Location", f"/v2/apps{app.id}")
        self.set_header("Marathon-Deployment-Id", deployment.id)
        body = self.app_json(app) | {"deployments": [{"id": deployment.id}]}
        await self.changes.kept(deployment)
        self.send(body, 201)

    def put(self) -> None:
        """Several at once: a list of what `PUT /v2/apps/<id>` takes, with the ids in it."""
        bodies = self.body()
        if not isinstance(bodies, list):
            raise invalid([fault("/", "error.expected.jsarray")])
        wanted = [self._wanted(body, index) for index, body in enumerate(bodies)]
        for definition in wanted:
            self.tell_api_event(definition)
        self.send_deployment(self.changes.put(wanted, self.flag("force")))

    patch = put

    def _wanted(self, body: Any, index: int) -> Definition:
        if not isinstance(body, dict) or not isinstance(body.get("id"), str):
            raise invalid([fault(f"({index})/id", "error.path.missing")])
        return self.changed(definitions.absolute(body["id"]), body)


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
        new = app_id not in self.supervisor.apps
        self._have(self.changed(app_id, self.body()), 201 if new else 200)

    def patch(self, app_id: str) -> None:
        self._have(self.changed(self.app(app_id).id, self.body()), 200)

    def delete(self, app_id: str) -> None:
        app = self.app(app_id)
        self.send_deployment(self.changes.remove(app, self.flag("force")))

    def _have(self, definition: Definition, status: int) -> None:
        self.tell_api_event(definition)
        self.send_deployment(self.changes.put([definition], self.flag("force")), status)


class Restart(Handler):
    def post(self, app_id: str) -> None:
        app = self.app(app_id)
        self.send_deployment(self.changes.restart(app, self.flag("force")))


class Versions(Handler):
    def get(self, app_id: str) -> None:
        self.send({"versions": self.changes.versions(self.app(app_id))})


class Version(Handler):
    def get(self, app_id: str, version: str) -> None:
        app: App = self.app(app_id)
        definition = self.changes.definition(app, version)
        if definition is None:
            raise Refusal(404, f"App '{app.id}' version '{version}' does not exist")
        self.send(definition)
