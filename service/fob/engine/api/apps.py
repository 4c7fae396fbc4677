"""Apps, their versions and their groups."""

from typing import Any

from fob.engine import definitions, wire
from fob.engine.api.base import Handler
from fob.engine.app import App
from fob.engine.refusals import Refusal


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


def _no_version() -> dict[str, Any]:
    return {"path": "/version", "errors": ["no such version of this app"]}
