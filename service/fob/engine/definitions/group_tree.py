"""The tree of groups: which groups exist, and what a group update changes in it."""

import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from fob.engine.definitions import app_definitions
from fob.engine.definitions.app_definitions import Definition, Faults, fault
from fob.engine.definitions.field_types import MAX_INTEGER, number, undefined
from fob.engine.errors import ApiError, invalid, is_unread

Dependencies = tuple[str, ...]  # absolute ids of groups and apps
_FACTOR = number(0)
FIELDS = ("apps", "groups", "dependencies", "scaleBy", "version")


@dataclass
class Tree:
    """Apps and groups by id: the whole tree or a part of it."""

    apps: dict[str, Definition] = field(default_factory=dict)
    groups: dict[str, Dependencies] = field(default_factory=dict)

    def below(self, group_id: str) -> "Tree":
        """Return the group and everything in it."""
        return Tree(
            {id_: app for id_, app in self.apps.items() if within(id_, group_id)},
            {id_: needs for id_, needs in self.groups.items() if within(id_, group_id)},
        )


class Groups:
    """All groups: explicitly created ones, which stay until they are removed, and implicit ones,
    which exist as long as an app has them in its path."""

    def __init__(self, explicit: dict[str, Dependencies]) -> None:
        self.explicit = explicit
        self._apps_below: Counter[str] = Counter()

    def add_app(self, app_id: str) -> None:
        self._apps_below.update(ancestors(app_id))

    def remove_app(self, app_id: str) -> None:
        for group_id in ancestors(app_id):
            self._apps_below[group_id] -= 1
            if not self._apps_below[group_id]:
                del self._apps_below[group_id]

    def __contains__(self, group_id: str) -> bool:
        return group_id == "/" or group_id in self.explicit or group_id in self._apps_below

    def conflicts(self, app_id: str, removed: Collection[str]) -> bool:
        """Whether `app_id` is the id of a group that still exists without the apps `removed`."""
        leaving = sum(app_id in ancestors(id_) for id_ in removed)
        return app_id in self.explicit or self._apps_below[app_id] > leaving

    def all(self) -> dict[str, Dependencies]:
        """Return every group, explicit or implicit, with its dependencies."""
        return {"/": ()} | dict.fromkeys(self._apps_below, ()) | self.explicit


def within(id_: str, group_id: str) -> bool:
    """Whether `id_` is the group itself or anything in it, at any depth."""
    return id_ == group_id or id_.startswith(group_id.rstrip("/") + "/")


def parent(id_: str) -> str:
    """Return the group that contains an app or group."""
    return id_.rpartition("/")[0] or "/"


def ancestors(id_: str) -> Iterator[str]:
    """Yield the groups that contain an app or group, from the nearest up to the root."""
    while id_ != "/":
        id_ = parent(id_)
        yield id_


def scale(now: Tree, factor: Any) -> Tree:
    """Return `now` with the instances of every app multiplied by `factor`, rounded up."""
    faults: Faults = []
    _FACTOR(factor, (None, "scaleBy"), faults)
    scaled = {id_: app["instances"] * factor for id_, app in now.apps.items()} if not faults else {}
    if any(instances > MAX_INTEGER for instances in scaled.values()):
        faults.append(fault("/scaleBy", f"expected {MAX_INTEGER} instances of each app or less"))
    if faults:
        raise invalid(faults)
    apps = {id_: now.apps[id_] | {"instances": math.ceil(n)} for id_, n in scaled.items()}
    return Tree(apps, now.groups)


def update(body: Any, group_id: str, now: Tree) -> Tree:
    """Return the group's tree after `body`, a Marathon group update, is applied to the tree `now`.

    A list `apps` replaces the apps directly in the group, and `groups` its groups; without the key
    they stay. Ids are absolute or relative to their group.
    Raises `ApiError` 422 naming every fault with its path: `/groups(0)/apps(1)/cpus`. As in
    Marathon, contradictions are named only when every value can be read.
    """
    faults: Faults = []
    tree = _update(body, group_id, now, "", faults)
    if faults:
        raise invalid(_unread(faults) or faults)
    return tree


def _unread(faults: Faults) -> Faults:
    return [each for each in faults if any(map(is_unread, each["errors"]))]


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
    for index, child in enumerate(_list(body["groups"], f"{path}/groups", faults)):
        child_path = f"{path}/groups({index})"
        # Marathon can read a group without an id, but not an app
        unnamed = isinstance(child, dict) and child.get("id") is None
        faults += [fault(f"{child_path}/id", "must not be empty")] if unnamed else []
        child_id = "" if unnamed else _child_id(child, group_id, child_path, faults)
        if child_id:
            yield _update(child, child_id, now.below(child_id), child_path, faults)
        else:
            faults += _unread(_group_faults(child, group_id, child_path))


def _group_faults(body: Any, group_id: str, path: str) -> Faults:
    """Return the faults of a group that has no valid id, except that one."""
    faults: Faults = []
    _update(body, group_id, Tree(), path, faults)
    return faults


def _apps(given: Any, group_id: str, path: str, faults: Faults) -> dict[str, Definition]:
    apps: dict[str, Definition] = {}
    for index, body in enumerate(_list(given, path, faults)):
        child_path = f"{path}({index})"
        app_id = _child_id(body, group_id, child_path, faults)
        if not app_id:
            faults += _unread(_app_faults(body, child_path))
            continue
        try:
            apps[app_id] = app_definitions.complete(body, app_id)
        except ApiError as error:
            faults += _below(child_path, error)
    return apps


def _app_faults(body: Any, path: str) -> Faults:
    """Return the faults of an app that has no valid id, except that one."""
    try:
        app_definitions.complete(body, "/any")
    except ApiError as error:
        return _below(path, error)
    return []


def _below(path: str, error: ApiError) -> Faults:
    """Return the faults in `error`, which are about the value at `path`."""
    return [
        each | {"path": (path + each["path"]).removesuffix("/")} for each in error.body["details"]
    ]


def _list(given: Any, path: str, faults: Faults) -> list[Any]:
    if isinstance(given, list):
        return given
    faults.append(fault(path, "error.expected.jsarray"))
    return []


def _child_id(body: Any, group_id: str, path: str, faults: Faults) -> str:
    """Return the absolute id of a child of a group; empty, with a fault, if it is not one."""
    if not isinstance(body, dict):
        return ""  # the caller reports that
    given = body.get("id")
    if not isinstance(given, str):
        wrong = "error.expected.jsstring" if "id" in body else undefined("id", body)
        faults.append(fault(f"{path}/id", wrong))
        return ""
    child = app_definitions.resolve(given, group_id)
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
    return tuple(app_definitions.resolve(needed, group_id) for needed in given)
