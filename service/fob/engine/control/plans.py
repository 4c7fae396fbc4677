"""In which order a change is made: what depends on something comes after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fob.engine.definitions.app_definitions import Definition, fault
from fob.engine.definitions.group_tree import Dependencies, ancestors, within
from fob.engine.errors import invalid

NOT_THE_CONFIGURATION = ("instances", "version", "versionInfo")


class Kind(StrEnum):
    """What is done to one app; Marathon's names."""

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


Step = tuple[Action, ...]  # what may be done at the same time
Apps = Mapping[str, Definition]


def steps(before: Apps, after: Apps, groups: Mapping[str, Dependencies]) -> tuple[Step, ...]:
    """The way from `before` to `after`, the apps that are touched and no others.

    What goes is stopped first; then come those apps that depend on none of the others, then those
    that depend on them, and so on. `groups` says what groups depend on.
    Raises `Refusal` 422 when the dependencies run in a circle.
    """
    stops = tuple(Action(Kind.STOP, id_) for id_ in before if id_ not in after)
    levels = _levels({id_: _needs(app, after, groups) for id_, app in after.items()})
    return (*([stops] if stops else []), *(_step(level, before, after) for level in levels))


def same_configuration(one: Definition, other: Definition) -> bool:
    """True when going from one to the other needs no new tasks of those that run."""
    return _configuration(one) == _configuration(other)


def _configuration(definition: Definition) -> Definition:
    return {k: value for k, value in definition.items() if k not in NOT_THE_CONFIGURATION}


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
    """The apps of `among` that must be there before `app`: its own dependencies, and those of the
    groups that it is in; a group stands for every app in it."""
    wanted = list(app["dependencies"])
    for group_id in ancestors(app["id"]):
        wanted += groups.get(group_id, ())
    if not wanted:
        return set()
    return {id_ for id_ in among if any(within(id_, needed) for needed in wanted)}


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
