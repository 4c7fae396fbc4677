"""The steps of a deployment: which apps are stopped, started or changed, in which order."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fob.engine.definitions.app_definitions import Definition, fault
from fob.engine.definitions.group_tree import Dependencies, ancestors, within
from fob.engine.errors import invalid

NOT_CONFIGURATION = ("instances", "version", "versionInfo")  # changes of these replace no task


class Kind(StrEnum):
    """What a deployment does to one app; Marathon's names."""

    START = "StartApplication"
    SCALE = "ScaleApplication"
    RESTART = "RestartApplication"
    STOP = "StopApplication"


@dataclass(frozen=True)
class Action:
    kind: Kind
    app_id: str

    def json(self) -> dict[str, str]:
        return {"action": self.kind.value, "app": self.app_id}

    @classmethod
    def from_json(cls, action: dict[str, str]) -> "Action":
        return cls(Kind(action["action"]), action["app"])


Step = tuple[Action, ...]  # may be carried out at the same time
Apps = Mapping[str, Definition]


def steps(before: Apps, after: Apps, groups: Mapping[str, Dependencies]) -> tuple[Step, ...]:
    """Return the steps that change `before` into `after`, which hold only the apps concerned.

    The first step stops removed apps. Then come the apps without dependencies among the others,
    then those that depend on them, and so on. `groups` are the dependencies of groups.
    Raises `ApiError` 422 for cyclic dependencies.
    """
    stops = tuple(Action(Kind.STOP, id_) for id_ in before if id_ not in after)
    levels = _levels({id_: _needs(app, after, groups) for id_, app in after.items()})
    return (*([stops] if stops else []), *(_step(level, before, after) for level in levels))


def same_configuration(one: Definition, other: Definition) -> bool:
    """True when a change from one to the other keeps the running tasks."""
    return _configuration(one) == _configuration(other)


def _configuration(definition: Definition) -> Definition:
    return {k: value for k, value in definition.items() if k not in NOT_CONFIGURATION}


def _step(app_ids: list[str], before: Apps, after: Apps) -> Step:
    return tuple(Action(_kind(before.get(id_), after[id_]), id_) for id_ in app_ids)


def _kind(before: Definition | None, after: Definition) -> Kind:
    if before is None:
        return Kind.START
    changed = (
        before["versionInfo"]["lastConfigChangeAt"] < after["versionInfo"]["lastConfigChangeAt"]
    )
    return Kind.RESTART if changed else Kind.SCALE


def _needs(app: Definition, among: Apps, groups: Mapping[str, Dependencies]) -> set[str]:
    """Return the apps in `among` on which `app` depends, by itself or through its groups. A
    dependency on a group is one on every app in it."""
    dependencies = list(app["dependencies"])
    for group_id in ancestors(app["id"]):
        dependencies += groups.get(group_id, ())
    if not dependencies:
        return set()
    return {id_ for id_ in among if any(within(id_, needed) for needed in dependencies)}


def _levels(needs: dict[str, set[str]]) -> list[list[str]]:
    levels: list[list[str]] = []
    left = dict(needs)
    while left:
        level = [id_ for id_, needed in left.items() if not needed & left.keys()]
        if not level:
            raise invalid([fault("/", "Dependency graph has cyclic dependencies.")])
        levels.append(level)
        for id_ in level:
            del left[id_]
    return levels
