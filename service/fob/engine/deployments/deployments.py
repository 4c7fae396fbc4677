"""Deployments: which changes are under way, how far each is, and what they lock."""

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from fob.engine import refusals
from fob.engine.definitions.groups import Tree
from fob.engine.deployments.plans import Action, Step
from fob.engine.events import Events

Begin = Callable[[list[Action]], object]
ReadinessOf = Callable[[str], list[dict[str, Any]]]


class Deployment:
    """One change, made step by step: a step begins when every app of the one before it is as it
    shall be. `before` and `after` hold the apps and groups that it touches, and no others."""

    def __init__(self, before: Tree, after: Tree, steps: tuple[Step, ...], version: str) -> None:
        self.id = str(uuid.uuid4())
        self.before = before
        self.after = after
        self.steps = steps
        self.version = version
        self.current = -1  # index of the step under way
        self.open: set[str] = set()  # apps of this step that are not there yet
        self.later: set[str] = set()  # apps whose step has not begun
        self.readiness: ReadinessOf = _nothing

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

    def _steps(self) -> list[dict[str, Any]]:
        return [{"actions": [action.json() for action in step]} for step in self.steps]


class Deployments:
    """Those under way, at most one for each app."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._begin: Begin = list
        self._readiness: ReadinessOf = _nothing
        self._of: dict[str, Deployment] = {}
        self._all: dict[str, Deployment] = {}

    def carried_out_by(self, begin: Begin, readiness: ReadinessOf) -> None:
        """`begin` is called with the actions of a step when their turn has come; when an app is as
        its action wants it, `done` is called, or else `fail`. `readiness` gives the results of the
        readiness checks of an app's tasks."""
        self._begin = begin
        self._readiness = readiness

    def all(self) -> list[Deployment]:
        return list(self._all.values())

    def get(self, deployment_id: str) -> Deployment:
        """Raises `Refusal` 404 when none of this id is under way."""
        if deployment_id not in self._all:
            raise refusals.Refusal(404, f"DeploymentPlan {deployment_id} does not exist")
        return self._all[deployment_id]

    def of(self, app_id: str) -> Deployment | None:
        return self._of.get(app_id)

    def check_unlocked(self, app_ids: Iterable[str], force: bool) -> None:
        """Raise `Refusal` 409 when other deployments hold one of the apps, unless `force`."""
        holding = {self._of[app_id].id for app_id in app_ids if app_id in self._of}
        if holding and not force:
            raise refusals.locked(sorted(holding))

    def postponed(self, app_id: str) -> bool:
        """True while the app waits for a step that has not begun."""
        deployment = self._of.get(app_id)
        return deployment is not None and app_id in deployment.later

    def start(self, deployment: Deployment) -> None:
        """Begin the first step; those that held one of its apps before have failed."""
        app_ids = deployment.app_ids
        others = {self._of[app_id].id for app_id in app_ids if app_id in self._of}
        deployment.readiness = self._readiness
        self._all[deployment.id] = deployment
        self._of |= dict.fromkeys(app_ids, deployment)
        going_on = deployment.advance()
        for other in others:
            self.cancel(self._all[other])
        if going_on:
            self._begin_step(deployment)
        else:
            self._end(deployment, "deployment_success")

    def done(self, app_id: str) -> None:
        """The app is as its deployment, if there is one, wants it."""
        deployment = self._of.get(app_id)
        if deployment is None or app_id not in deployment.open:
            return
        deployment.open.remove(app_id)
        if deployment.open:
            return
        self._publish("deployment_step_success", deployment)
        if deployment.advance():
            self._begin_step(deployment)
        else:
            self._end(deployment, "deployment_success")

    def fail(self, app_id: str) -> None:
        """The app will not come to be as its deployment, if there is one, wants it."""
        if app_id in self._of:
            self.cancel(self._of[app_id])

    def cancel(self, deployment: Deployment) -> None:
        """It is over, and has failed: what it would have done later is no longer held back."""
        self._publish("deployment_step_failure", deployment)
        self._end(deployment, "deployment_failed")
        self._begin(deployment.rest())

    def _begin_step(self, deployment: Deployment) -> None:
        self._publish("deployment_info", deployment)
        self._begin(list(deployment.step))

    def _end(self, deployment: Deployment, type_: str) -> None:
        del self._all[deployment.id]
        for app_id in deployment.app_ids:
            if self._of.get(app_id) is deployment:
                del self._of[app_id]
        self._events.publish(type_, id=deployment.id, plan=deployment.plan())

    def _publish(self, type_: str, deployment: Deployment) -> None:
        step = {"actions": deployment.current_actions()}
        self._events.publish(type_, plan=deployment.plan(), currentStep=step)


def _nothing(app_id: str) -> list[dict[str, Any]]:
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
