"""Deployments: which changes are under way, and what they lock."""

import uuid
from dataclasses import dataclass, field
from typing import Any

from fob.engine import refusals
from fob.engine.events import Events
from fob.timeline import utc_now


@dataclass(frozen=True)
class Deployment:
    """One change of one app: `action` is Marathon's (StartApplication, ScaleApplication, ...)."""

    app_id: str
    action: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    version: str = field(default_factory=utc_now)

    def _actions(self) -> list[dict[str, str]]:
        return [{"action": self.action, "app": self.app_id}]

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "version": self.version,
            "affectedApps": [self.app_id],
            "affectedPods": [],
            "steps": [{"actions": self._actions()}],
            "currentActions": [
                {"action": self.action, "app": self.app_id, "readinessCheckResults": []}
            ],
            "currentStep": 1,
            "totalSteps": 1,
        }

    def plan(self) -> dict[str, Any]:
        group = {"id": "/", "apps": [{"id": self.app_id}], "groups": [], "dependencies": []}
        return {
            "id": self.id,
            "version": self.version,
            "original": group,
            "target": group,
            "steps": [{"actions": self._actions()}],
        }


class Deployments:
    """Those under way, at most one for each app."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._of: dict[str, Deployment] = {}

    def all(self) -> list[Deployment]:
        return list(self._of.values())

    def of(self, app_id: str) -> Deployment | None:
        return self._of.get(app_id)

    def check_unlocked(self, app_id: str, force: bool) -> None:
        """Raise `Refusal` 409 when another deployment holds the app, unless `force`."""
        if app_id in self._of and not force:
            raise refusals.locked([self._of[app_id].id])

    def start(self, app_id: str, action: str) -> Deployment:
        """Begin a deployment; one that held the app before has failed."""
        self.end(app_id, succeeded=False)
        deployment = Deployment(app_id, action)
        self._of[app_id] = deployment
        self._publish("deployment_info", deployment)
        return deployment

    def end(self, app_id: str, succeeded: bool) -> None:
        """The app's deployment, if there is one, is over."""
        deployment = self._of.pop(app_id, None)
        if deployment is None:
            return
        step = "deployment_step_success" if succeeded else "deployment_step_failure"
        self._publish(step, deployment)
        self._events.publish(
            "deployment_success" if succeeded else "deployment_failed",
            id=deployment.id,
            plan=deployment.plan(),
        )

    def _publish(self, type_: str, deployment: Deployment) -> None:
        step = {"actions": deployment.json()["currentActions"]}
        self._events.publish(type_, plan=deployment.plan(), currentStep=step)
