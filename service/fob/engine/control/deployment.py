"""One deployment: what it changes, in which steps, and how far it is."""

import uuid
from collections.abc import Callable
from typing import Any

from fob.engine.control.plans import Action, Kind, Step
from fob.engine.definitions.app_definitions import Definition
from fob.engine.definitions.group_tree import Tree

ReadinessOf = Callable[[str], list[dict[str, Any]]]

_CREATIONS = uuid.UUID("6e1c3b1f-6b0e-4a55-9d58-0c7a3b2f4e91")  # a namespace of ours, RFC 4122


class Deployment:
    """One change, made step by step: a step begins when every app of the one before it is as it
    shall be. `before` and `after` hold the apps and groups that it touches, and no others."""

    def __init__(
        self, before: Tree, after: Tree, steps: tuple[Step, ...], version: str, id_: str = ""
    ) -> None:
        self.before = before
        self.after = after
        self.steps = steps
        self.version = version
        self.id = id_ or self._new_id()
        self.kept = False  # on the disk
        self.current = -1  # index of the step under way
        self.open: set[str] = set()  # apps of this step that are not there yet
        self.later: set[str] = set()  # apps whose step has not begun
        self.readiness: ReadinessOf = nothing

    @property
    def creates_one(self) -> bool:
        """True when it is for one new app and nothing else: the app says then all of it."""
        groups = self.before.groups or self.after.groups
        return not groups and not self.before.apps and len(self.after.apps) == 1

    @property
    def app_ids(self) -> list[str]:
        return [action.app_id for step in self.steps for action in step]

    @property
    def step(self) -> Step:
        return self.steps[self.current]

    def rest(self) -> list[Action]:
        """What has not begun."""
        return [action for step in self.steps[self.current + 1 :] for action in step]

    def advance(self) -> bool:
        """Go to the next step; False when there is none."""
        self.current += 1
        if self.current == len(self.steps):
            return False
        self.open = {action.app_id for action in self.step}
        self.later = {action.app_id for action in self.rest()}
        return True

    def json(self) -> dict[str, Any]:
        """As `GET /v2/deployments` lists it."""
        return {
            "id": self.id,
            "version": self.version,
            "affectedApps": self.app_ids,
            "affectedPods": [],
            "steps": self._steps(),
            "currentActions": self.current_actions(),
            "currentStep": self.current + 1,
            "totalSteps": len(self.steps),
        }

    def current_actions(self) -> list[dict[str, Any]]:
        """With what readiness checks have found of the apps' tasks."""
        return [
            action.json() | {"readinessCheckResults": self.readiness(action.app_id)}
            for action in self.step
        ]

    def plan(self) -> dict[str, Any]:
        """As events carry it."""
        return {
            "id": self.id,
            "version": self.version,
            "original": _told(self.before, self.version),
            "target": _told(self.after, self.version),
            "steps": self._steps(),
        }

    def _new_id(self) -> str:
        """That of a creation follows from the app, so that it is the same to the next engine."""
        if self.creates_one:
            return str(uuid.uuid5(_CREATIONS, f"{self.version} {self.app_ids}"))
        return str(uuid.uuid4())

    def _steps(self) -> list[dict[str, Any]]:
        return [{"actions": [action.json() for action in step]} for step in self.steps]


def creation(definition: Definition) -> Deployment:
    """The deployment by which this app has come."""
    app_id, version = definition["id"], definition["version"]
    steps = ((Action(Kind.START, app_id),),)
    return Deployment(Tree(), Tree({app_id: definition}), steps, version)


def nothing(app_id: str) -> list[dict[str, Any]]:
    """What readiness checks have found where nobody has asked."""
    return []


def _told(tree: Tree, version: str) -> dict[str, Any]:
    """The root group with what the deployment touches; of apps no more than their scale, because a
    definition may be long, and events are kept."""
    return {
        "id": "/",
        "apps": [
            {"id": id_, "instances": app["instances"], "version": app.get("version", version)}
            for id_, app in tree.apps.items()
        ],
        "groups": [],
        "dependencies": [],
        "pods": [],
        "version": version,
    }
