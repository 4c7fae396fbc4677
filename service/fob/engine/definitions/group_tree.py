"""The tree of groups: which there are, and what of it a group update asks to change."""

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from fob.engine.definitions import app_definitions
from fob.engine.definitions.app_definitions import Definition, Faults, fault
from fob.engine.definitions.field_types import WHOLE_MOST, number
from fob.engine.errors import ApiError, invalid

Dependencies = tuple[str, ...]  # ids of groups and apps, absolute
_FACTOR = number(0)
FIELDS = ("apps", "groups", "dependencies", "scaleBy", "version")


@dataclass
class Tree:
    """Apps and groups by their ids: the whole of them, or a part."""

    apps: dict[str, Definition] = field(default_factory=dict)
    groups: dict[str, Dependencies] = field(default_factory=dict)

    def below(self, group_id: str) -> "Tree":
        """What is in a group, and the group itself."""
        return Tree(
            {id_: app for id_, app in self.apps.items() if within(id_, group_id)},
            {id_: needs for id_, needs in self.groups.items() if within(id_, group_id)},
        )


class Groups:
    """The groups that there are: those that were made, and for as long as they have one, those
    that the paths of apps name."""

    def __init__(self, made: dict[str, Dependencies]) -> None:
        self.made = made
        self._apps_below: Counter[str] = Counter()

    def entered(self, app_id: str) -> None:
        """An app has come."""
        self._apps_below.update(ancestors(app_id))

    def left(self, app_id: str) -> None:
        """An app has gone."""
        for group_id in ancestors(app_id):
            self._apps_below[group_id] -= 1
            if not self._apps_below[group_id]:
                del self._apps_below[group_id]

    def __contains__(self, group_id: str) -> bool:
        return group_id == "/" or group_id in self.made or group_id in self._apps_below

    def clash(self, app_id: str, gone: Collection[str]) -> bool:
        """True when an app would have the id of a group, once the apps of `gone` are no more."""
        going = sum(app_id in ancestors(id_) for id_ in gone)
        return app_id in self.made or self._apps_below[app_id] > going

    def all(self) -> dict[str, Dependencies]:
        """Every group with what it depends on."""
        return {"/": ()} | dict.fromkeys(self._apps_below, ()) | self.made


def within(id_: str, group_id: str) -> bool:
    """True for the group itself and for all below it."""
    return id_ == group_id or id_.startswith(group_id.rstrip("/") + "/")


def parent(id_: str) -> str:
    """The group that an app or a group is in."""
    return id_.rpartition("/")[0] or "/"


def ancestors(id_: str) -> Iterator[str]:
    """The groups that an app or a group is in, from the nearest up to the root."""
    while id_ != "/":
        id_ = parent(id_)
        yield id_


def scaled(now: Tree, factor: Any) -> Tree:
    """`now` with the instances of every app multiplied, and rounded up."""
    faults: Faults = []
    _FACTOR(factor, (None, "scaleBy"), faults)
    wanted = {id_: app["instances"] * factor for id_, app in now.apps.items()} if not faults else {}
    if any(instances > WHOLE_MOST for instances in wanted.values()):
        faults.append(fault("/scaleBy", f"expected {WHOLE_MOST} instances of each app or less"))
    if faults:
        raise invalid(faults)
    apps = {id_: now.apps[id_] | {"instances": math.ceil(n)} for id_, n in wanted.items()}
    return Tree(apps, now.groups)


def update(body: Any, group_id: str, now: Tree) -> Tree:
    """What is in the group once `body`, a Marathon group update, has been done.

    `now` is what is in it. Apps that `body` names replace those directly in the group, and so do
    groups; what it does not name stays as it is. Ids are absolute or relative to their group.
    Raises `Refusal` 422 naming every fault with its path: `/groups(0)/apps(1)/cpus`.
    """
    faults: Faults = []
    tree = _update(body, group_id, now, "", faults)
    if faults:
        raise invalid(faults)
    return tree


def _update(body: Any, group_id: str, now: Tree, path: str, faults: Faults) -> Tree:
    if not isinstance(body, dict):
        faults.append(fault(path or "/", "error.expected.jsobject"))
        return Tree()
    body = {key: value for key, value in body.items() if value is not None}
    tree = Tree({}, {group_id: now.groups.get(group_id, ())})
    if "dependencies" in body:
        tree.groups[group_id] = _dependencies(body["dependencies"], group_id, path, faults)
    if "apps" in body:
        tree.apps |= _apps(body["apps"], group_id, f"{path}/apps", faults)
    else:
        tree.apps |= {id_: app for id_, app in now.apps.items() if parent(id_) == group_id}
    kept = now.below(group_id)
    for child in _groups(body, group_id, now, path, faults) if "groups" in body else [kept]:
        tree.apps |= {id_: app for id_, app in child.apps.items() if parent(id_) != group_id}
        tree.groups |= {id_: needs for id_, needs in child.groups.items() if id_ != group_id}
    return tree


def _groups(
    body: dict[str, Any], group_id: str, now: Tree, path: str, faults: Faults
) -> Iterator[Tree]:
    for index, child in enumerate(_listed(body["groups"], f"{path}/groups", faults)):
        where = f"{path}/groups({index})"
        child_id = _child_id(child, group_id, where, faults)
        if child_id:
            yield _update(child, child_id, now.below(child_id), where, faults)


def _apps(given: Any, group_id: str, path: str, faults: Faults) -> dict[str, Definition]:
    apps: dict[str, Definition] = {}
    for index, body in enumerate(_listed(given, path, faults)):
        where = f"{path}({index})"
        app_id = _child_id(body, group_id, where, faults)
        if not app_id:
            continue
        try:
            apps[app_id] = app_definitions.complete(body, app_id)
        except ApiError as refusal:
            faults += [each | {"path": where + each["path"]} for each in refusal.body["details"]]
    return apps


def _listed(given: Any, path: str, faults: Faults) -> list[Any]:
    if isinstance(given, list):
        return given
    faults.append(fault(path, "error.expected.jsarray"))
    return []


def _child_id(body: Any, group_id: str, path: str, faults: Faults) -> str:
    """The absolute id of what is said to be in a group; empty, with a fault, when it is not."""
    given = body.get("id") if isinstance(body, dict) else None
    if not isinstance(given, str):
        faults.append(fault(f"{path}/id", "error.path.missing"))
        return ""
    child = app_definitions.resolved(given, group_id)
    if parent(child) != group_id or child == group_id:
        hint = f"Identifier is not child of '{group_id}'. Hint: use relative paths."
        faults.append(fault(f"{path}/id", hint))
        return ""
    if error := app_definitions.path_error(child):
        faults.append(fault(f"{path}/id", error))
        return ""
    return child


def _dependencies(given: Any, group_id: str, path: str, faults: Faults) -> Dependencies:
    if not isinstance(given, list) or not all(isinstance(needed, str) for needed in given):
        faults.append(fault(f"{path}/dependencies", "error.expected.jsarray"))
        return ()
    return tuple(app_definitions.resolved(needed, group_id) for needed in given)
