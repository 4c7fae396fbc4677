"""Deployments in progress: their steps, and the locks that they hold on apps."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator

from fob.engine import errors
from fob.engine.control.deployment import Deployment, ReadinessOf, no_readiness
from fob.engine.control.deployment_storage import DeploymentStorage
from fob.engine.control.plans import Action, Apps, Kind
from fob.engine.events import Events

CarryOut = Callable[[Action], object]


class Deployments:
    """All deployments in progress, at most one for each app."""

    def __init__(self, events: Events, storage: DeploymentStorage) -> None:
        self._events = events
        self._storage = storage
        self._carry_out: CarryOut = lambda action: None
        self._readiness: ReadinessOf = no_readiness
        self._by_app: dict[str, Deployment] = {}
        self._by_id: dict[str, Deployment] = {}

    def connect(self, carry_out: CarryOut, readiness: ReadinessOf) -> None:
        """Call `carry_out(action)` for each action when its step begins.

        After that, `app_settled` is expected once the app has reached its desired state, or
        `app_failed` if it never will. `readiness(app_id)` returns readiness results of its tasks.
        """
        self._carry_out = carry_out
        self._readiness = readiness

    def all(self) -> list[Deployment]:
        return list(self._by_id.values())

    def get(self, deployment_id: str) -> Deployment:
        """Return a deployment. Raises `ApiError` 404 when none with this id is in progress."""
        if deployment_id not in self._by_id:
            raise errors.ApiError(404, f"DeploymentPlan {deployment_id} does not exist")
        return self._by_id[deployment_id]

    def of(self, app_id: str) -> Deployment | None:
        """Return the app's deployment."""
        return self._by_app.get(app_id)

    def check_unlocked(self, app_ids: Iterable[str], force: bool) -> None:
        """Raise `ApiError` 409 when other deployments lock one of the apps, unless `force`."""
        if not force and (locking := self._locking(app_ids)):
            raise errors.app_locked(sorted(other.id for other in locking))

    def postponed(self, app_id: str) -> bool:
        """True while the app waits for a step that has not begun."""
        deployment = self._by_app.get(app_id)
        return deployment is not None and app_id in deployment.postponed

    def store(self, deployment: Deployment) -> None:
        """Store a new deployment, for the next engine to resume.

        Call this in the transaction of its change, before the apps are changed; then `start` it.
        """
        self._storage.store(deployment, self._locking(deployment.app_ids))

    def start(self, deployment: Deployment) -> None:
        """Begin the first step; other deployments of its apps are cancelled."""
        has_steps = deployment.advance()
        self._cancel_others(deployment)
        if has_steps:
            self._begin_step(deployment)
        else:
            self._end(deployment, "deployment_success")

    def recover(self, apps: Apps) -> None:
        """Resume the stored deployments; `apps` are the current definitions."""
        for deployment in self._storage.load(apps):
            self.resume(deployment)

    def resume(self, deployment: Deployment) -> None:
        """Continue a deployment of an earlier engine. The caller reconciles its apps: `carry_out`
        is not called for the current step."""
        self._add(deployment)
        deployment.advance()
        self._publish("deployment_info", deployment)

    def app_settled(self, app_id: str) -> None:
        """Note that the app has reached its desired state; the last app of a step ends the step."""
        deployment = self._by_app.get(app_id)
        if deployment is None or app_id not in deployment.unfinished:
            return
        deployment.unfinished.remove(app_id)
        if deployment.unfinished:
            return
        self._publish("deployment_step_success", deployment)
        if deployment.advance():
            self._storage.store_step(deployment)
            self._begin_step(deployment)
        else:
            self._end(deployment, "deployment_success")

    def task_failed(self, app_id: str) -> None:
        """Note that a task of the app has failed, and will be retried."""
        if app_id in self._by_app:
            self._storage.store_after_failure(self._by_app[app_id])

    def app_failed(self, app_id: str) -> None:
        """Cancel the app's deployment: the app will never reach its desired state."""
        if app_id in self._by_app:
            self.cancel(self._by_app[app_id])

    def cancel(self, deployment: Deployment) -> None:
        """End a deployment as failed. It undoes nothing: the desired state of its apps stays, and
        the actions of its later steps are carried out now."""
        self._publish("deployment_step_failure", deployment)
        self._end(deployment, "deployment_failed")
        self._begin(deployment.later_actions())

    def _locking(self, app_ids: Iterable[str]) -> Collection[Deployment]:
        """Return the deployments that lock one of the apps, each once."""
        found = [self._by_app[app_id] for app_id in app_ids if app_id in self._by_app]
        return {deployment.id: deployment for deployment in found}.values()

    def _cancel_others(self, deployment: Deployment) -> None:
        others = self._locking(deployment.app_ids)
        self._add(deployment)
        for other in others:
            if other is not deployment:
                self.cancel(other)

    def _add(self, deployment: Deployment) -> None:
        deployment.readiness = self._readiness
        self._by_id[deployment.id] = deployment
        self._by_app |= dict.fromkeys(deployment.app_ids, deployment)

    def _begin_step(self, deployment: Deployment) -> None:
        self._publish("deployment_info", deployment)
        self._begin(list(deployment.step))

    def _begin(self, actions: list[Action]) -> None:
        # Stops begin at once. Starts begin after the response to the request that causes them, so
        # that the client reads it while the tasks start: when starts came first, a fifth of the
        # time of a registration was spent waiting for them.
        if any(action.kind is Kind.STOP for action in actions):
            self._carry_out_next(iter(actions))
        else:
            asyncio.get_running_loop().call_soon(self._carry_out_next, iter(actions))

    def _carry_out_next(self, actions: Iterator[Action]) -> None:
        """Carry out one action per turn of the loop, so that requests and events of readers are
        served in between."""
        if action := next(actions, None):
            self._carry_out(action)
            asyncio.get_running_loop().call_soon(self._carry_out_next, actions)

    def _end(self, deployment: Deployment, type_: str) -> None:
        self._storage.remove(deployment)
        del self._by_id[deployment.id]
        for app_id in deployment.app_ids:
            if self._by_app.get(app_id) is deployment:
                del self._by_app[app_id]
        self._events.publish(type_, id=deployment.id, plan=deployment.plan())

    def _publish(self, type_: str, deployment: Deployment) -> None:
        step = {"actions": deployment.current_actions()}
        self._events.publish(type_, plan=deployment.plan(), currentStep=step)
