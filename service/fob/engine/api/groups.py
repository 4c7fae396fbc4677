"""Groups: the tree of apps, read and changed."""

import json
from collections.abc import Collection
from typing import Any

from fob.engine.api import embeds
from fob.engine.api.base import Handler
from fob.engine.definitions import app_definitions, group_tree
from fob.engine.definitions.app_definitions import fault
from fob.engine.definitions.group_tree import FIELDS, Tree
from fob.engine.errors import ApiError, invalid
from fob.engine.tasks import marathon_json


class GroupsHandler(Handler):
    """`/v2/groups/<id>`, and the root without an id."""

    def get(self, group: str | None) -> None:
        group_id = app_definitions.absolute(group or "")
        tree = self.changes.tree(group_id)
        of_apps, of_groups = embeds.of_group(self.embedded())

        def app_json(app_id: str) -> marathon_json.Json:
            return self.app_json(self.supervisor.apps[app_id], of_apps)

        self.send(_only(of_groups, marathon_json.group(group_id, tree, app_json)))

    def post(self, group: str | None) -> None:
        group_id, body = self._sent(group)
        if group_id in self.changes.groups:
            text = f"Group {group_id} is already created. Use PUT to change this group."
            raise ApiError(409, text)
        if group_id in self.supervisor.apps:
            raise ApiError(409, f"An app with the path {group_id} already exists.")
        self.set_header("Location", f"/v2/groups{group_id}")
        self._regroup(group_id, self._wanted(group_id, body), 201)

    def put(self, group: str | None) -> None:
        group_id, body = self._sent(group)
        wanted = self._wanted(group_id, body)
        if self.flag("dryRun"):
            steps = self.changes.plan(group_id, wanted)
            told = [{"actions": [action.json() for action in step]} for step in steps]
            self.send({"steps": told})
        else:
            self._regroup(group_id, wanted, 200)

    patch = put

    def delete(self, group: str | None) -> None:
        group_id = app_definitions.absolute(group or "")
        self.changes.tree(group_id)
        deployment = self.changes.regroup(group_id, Tree(), self.flag("force"))
        self.send_deployment(deployment)

    def _sent(self, group: str | None) -> tuple[str, dict[str, Any]]:
        """The group that is meant, and the update of it."""
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

    def _wanted(self, group_id: str, body: dict[str, Any]) -> Tree:
        given = [name for name in FIELDS if body.get(name) is not None]
        alone = [name for name in given if name in ("scaleBy", "version")]
        if alone and len(given) > 1:
            raise invalid(
                [fault(f"/{alone[0]}", "not allowed in conjunction with other properties.")]
            )
        if "version" in alone:
            told = f"Group {group_id} not available in version {body['version']}"
            content = _content(self, group_id, body["version"], ApiError(422, told))
            return group_tree.update(content, group_id, Tree())
        now = self.changes.tree(group_id) if group_id in self.changes.groups else Tree()
        if "scaleBy" in alone:
            self.changes.tree(group_id)
            return group_tree.scale(now, body["scaleBy"])
        return group_tree.update(body, group_id, now)

    def _regroup(self, group_id: str, wanted: Tree, status: int) -> None:
        deployment = self.changes.regroup(group_id, wanted, self.flag("force"))
        self.send_deployment(deployment, status)


class AppsOfGroup(Handler):
    """`/v2/groups/<id>/apps`: all apps below it, in one list."""

    def get(self, group: str | None) -> None:
        tree = self.changes.tree(app_definitions.absolute(group or ""))
        embed, _ = embeds.of_group(self.embedded())
        self.send([self.app_json(self.supervisor.apps[app_id], embed) for app_id in tree.apps])


class GroupVersions(Handler):
    def get(self, group: str | None) -> None:
        group_id = app_definitions.absolute(group or "")
        self.changes.tree(group_id)
        self.send(list(self.changes.group_versions(group_id)))


class GroupVersion(Handler):
    def get(self, group: str | None, version: str) -> None:
        group_id = app_definitions.absolute(group or "")
        missing = ApiError(404, f"Group '{group_id}' does not exist")
        self.send(_content(self, group_id, version, missing))


def _content(handler: Handler, group_id: str, version: Any, missing: ApiError) -> dict[str, Any]:
    """What was in the group; raises `missing` when that is not known."""
    content = handler.changes.group_versions(group_id).get(str(version))
    if content is None:
        raise missing
    found: dict[str, Any] = json.loads(content)
    return found


def _only(embed: Collection[str], group: marathon_json.Json) -> marathon_json.Json:
    """The group, and those in it, with what was asked for."""
    left_out = {key for name, key in embeds.OF_GROUPS.items() if name not in embed}
    kept = {key: value for key, value in group.items() if key not in left_out}
    if "groups" in kept:
        kept["groups"] = [_only(embed, child) for child in kept["groups"]]
    return kept
