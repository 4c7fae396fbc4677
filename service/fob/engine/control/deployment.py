"""One deployment: what it changes, in which steps, and its progress."""

import uuid
from collections.abc import Callable
from typing import Any

from fob.engine.control.plans import Action, Kind, Step
from fob.engine.definitions.app_definitions import Definition
from fob.engine.definitions.group_tree import Tree

ReadinessOf = Callable[[str], list[dict[str, Any]]]

_CREATIONS = uuid.UUID("6e1c3b1f-6b0e-4a55-9d58-0c7a3b2f4e91")  # a namespace of ours (RFC 4122)


class Deployment:
    """A change, carried out in steps: a step begins when every app of the previous step has reached
    its desired state. `before` and `after` hold only the apps and groups that it changes."""

    def __init__(
        self, before: Tree, after: Tree, steps: tuple[Step, ...], version: str, id_: str = ""
    ) -> None:
        self.before = before
        self.after = after
        self.steps = steps
        self.version = version
        self.id = id_ or self._new_id()
        self.stored = False
        self.current = -1  # index of the step in progress
        self.unfinished: set[str] = set()  # apps of this step, until they reach the desired state
        self.postponed: set[str] = set()  # apps of later steps
        self.readiness: ReadinessOf = no_readiness

    @property
    def creates_one_app(self) -> bool:
        """True when it creates one app and does nothing else: it follows from the app alone."""
        groups = self.before.groups or self.after.groups
        return not groups and not self.before.apps and len(self.after.apps) == 1

    @property
    def app_ids(self) -> list[str]:
        return [action.app_id for step in self.steps for action in step]

    @property
    def step(self) -> Step:
        return self.steps[self.current]

    def later_actions(self) -> list[Action]:
        """Return the actions of all later steps."""
        return [action for step in self.steps[self.current + 1 :] for action in step]

    def advance(self) -> bool:
        """Go to the next step; return False when there is none."""
        self.current += 1
        if self.current == len(self.steps):
            return False
        self.unfinished = {action.app_id for action in self.step}
        self.postponed = {action.app_id for action in self.later_actions()}
        return True

    def json(self) -> dict[str, Any]:
        """Return an entry of `GET /v2/deployments`."""
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
        """Return the actions of the current step with the results of readiness checks."""
        return [
            action.json() | {"readinessCheckResults": self.readiness(action.app_id)}
            for action in self.step
        ]

    def plan(self) -> dict[str, Any]:
        """Return the `plan` of events."""
        return {
            "id": self.id,
            "version": self.version,
            "original": _group(self.before, self.version),
            "target": _group(self.after, self.version),
            "steps": self._steps(),
        }

    def _new_id(self) -> str:
        """Return a new id. The creation of one app is not stored, so its id is derived from the
        app: the next engine gets the same one."""
        if self.creates_one_app:
            return str(uuid.uuid5(_CREATIONS, f"{self.version} {self.app_ids}"))
        return str(uuid.uuid4())

    def _steps(self) -> list[dict[str, Any]]:
        return [{"actions": [action.json() for action in step]} for step in self.steps]


def creation(definition: Definition) -> Deployment:
    """Return the deployment that created this app."""
    app_id, version = definition["id"], definition["version"]
    steps = ((Action(Kind.START, app_id),),)
    return Deployment(Tree(), Tree({app_id: definition}), steps, version)


def no_readiness(app_id: str) -> list[dict[str, Any]]:
    """A `ReadinessOf` without any results."""
    return []


def _group(tree: Tree, version: str) -> dict[str, Any]:
    """Return the root group with the changed apps. Of each app it has only the scale: definitions
    can be long, and events are kept."""
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
