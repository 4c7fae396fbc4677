"""Groups: reading and changing the tree of apps."""

import json
from collections.abc import Collection
from typing import Any

from fob.engine.api import embeds
from fob.engine.api.base import MarathonHandler
from fob.engine.definitions import app_definitions, group_tree, timestamps
from fob.engine.definitions.app_definitions import fault
from fob.engine.definitions.group_tree import FIELDS, Tree
from fob.engine.errors import ApiError, invalid
from fob.engine.tasks import marathon_json


class GroupsHandler(MarathonHandler):
    """`/v2/groups/<id>`; without an id, the root group."""

    def get(self, group: str | None) -> None:
        group_id = app_definitions.absolute(group or "")
        tree = self.changes.tree(group_id)
        of_apps, of_groups = embeds.of_group(self.embedded())

        def app_json(app_id: str) -> marathon_json.Json:
            return self.app_json(self.supervisor.apps[app_id], of_apps)

        self.send(_only(of_groups, marathon_json.group(group_id, tree, app_json)))

    def post(self, group: str | None) -> None:
        group_id, body = self._parse(group)
        if group_id in self.changes.groups:
            text = f"Group {group_id} is already created. Use PUT to change this group."
            raise ApiError(409, text)
        if group_id in self.supervisor.apps:
            raise ApiError(409, f"An app with the path {group_id} already exists.")
        self.set_header("Location", f"/v2/groups{group_id}")
        self._regroup(group_id, self._updated(group_id, body), 201)

    def put(self, group: str | None) -> None:
        group_id, body = self._parse(group)
        tree = self._updated(group_id, body)
        if self.flag("dryRun"):
            steps = self.changes.plan(group_id, tree)
            plan = [{"actions": [action.json() for action in step]} for step in steps]
            self.send({"steps": plan})
        else:
            self._regroup(group_id, tree, 200)

    patch = put

    def delete(self, group: str | None) -> None:
        group_id = app_definitions.absolute(group or "")
        self.changes.tree(group_id)  # 404 if it does not exist
        deployment = self.changes.put_group(group_id, Tree(), self.flag("force"))
        self.send_deployment(deployment)

    def _parse(self, group: str | None) -> tuple[str, dict[str, Any]]:
        """Return the id of the group and the body of the request."""
        body = self.body()
        if not isinstance(body, dict):
            raise invalid([fault("/", "error.expected.jsobject")])
        given = body.get("id")
        if given is not None and not isinstance(given, str):
            raise invalid([fault("/id", "error.expected.jsstring")])
        group_id = app_definitions.resolve(given or "", app_definitions.absolute(group or ""))
        if group_id != "/" and (error := app_definitions.path_error(group_id)):
            raise invalid([fault("/id", error)])
        return group_id, body

    def _updated(self, group_id: str, body: dict[str, Any]) -> Tree:
        """Return the group's tree after the update `body`."""
        given = [name for name in FIELDS if body.get(name) is not None]
        alone = [name for name in given if name in ("scaleBy", "version")]
        if alone and len(given) > 1:
            raise invalid(
                [fault(f"/{alone[0]}", "not allowed in conjunction with other properties.")]
            )
        if "version" in alone:
            version = timestamps.in_utc(body["version"])
            message = f"Group {group_id} not available in version {version}"
            content = _content(self, group_id, version, ApiError(422, message))
            return group_tree.update(content, group_id, Tree())
        new = Tree(groups={group_id: ()})
        now = self.changes.tree(group_id) if group_id in self.changes.groups else new
        if "scaleBy" in alone:
            return group_tree.scale(now, body["scaleBy"])
        return group_tree.update(body, group_id, now)

    def _regroup(self, group_id: str, tree: Tree, status: int) -> None:
        deployment = self.changes.put_group(group_id, tree, self.flag("force"))
        self.send_deployment(deployment, status)


class GroupAppsHandler(MarathonHandler):
    """`/v2/groups/<id>/apps`: a list of all apps in the group, at any depth."""

    def get(self, group: str | None) -> None:
        tree = self.changes.tree(app_definitions.absolute(group or ""))
        embed, _ = embeds.of_group(self.embedded())
        self.send([self.app_json(self.supervisor.apps[app_id], embed) for app_id in tree.apps])


class GroupVersionsHandler(MarathonHandler):
    def get(self, group: str | None) -> None:
        group_id = app_definitions.absolute(group or "")
        self.changes.tree(group_id)  # 404 if it does not exist
        self.send(list(self.changes.group_versions(group_id)))


class GroupVersionHandler(MarathonHandler):
    def get(self, group: str | None, version: str) -> None:
        group_id = app_definitions.absolute(group or "")
        missing = ApiError(404, f"Group '{group_id}' does not exist")
        self.send(_content(self, group_id, timestamps.in_utc(version), missing))


def _content(
    handler: MarathonHandler, group_id: str, version: str, missing: ApiError
) -> dict[str, Any]:
    """Return the content of the group at `version`; raises `missing` if it is not stored."""
    content = handler.changes.group_versions(group_id).get(version)
    if content is None:
        raise missing
    found: dict[str, Any] = json.loads(content)
    return found


def _only(embed: Collection[str], group: marathon_json.Json) -> marathon_json.Json:
    """Return the group and the groups in it with the embedded fields only."""
    left_out = {key for name, key in embeds.OF_GROUPS.items() if name not in embed}
    kept = {key: value for key, value in group.items() if key not in left_out}
    if "groups" in kept:
        kept["groups"] = [_only(embed, child) for child in kept["groups"]]
    return kept
