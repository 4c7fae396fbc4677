"""Deployments: which changes are under way, how far each is, and what they lock."""

from collections.abc import Callable, Collection, Iterable

from fob.engine import errors
from fob.engine.control.deployment import Deployment, ReadinessOf, nothing
from fob.engine.control.keeping import Keeping
from fob.engine.control.plans import Action, Apps
from fob.engine.events import Events

Begin = Callable[[list[Action]], object]


class Deployments:
    """Those under way, at most one for each app."""

    def __init__(self, events: Events, keeping: Keeping) -> None:
        self._events = events
        self._keeping = keeping
        self._begin: Begin = list
        self._readiness: ReadinessOf = nothing
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
            raise errors.ApiError(404, f"DeploymentPlan {deployment_id} does not exist")
        return self._all[deployment_id]

    def of(self, app_id: str) -> Deployment | None:
        return self._of.get(app_id)

    def check_unlocked(self, app_ids: Iterable[str], force: bool) -> None:
        """Raise `Refusal` 409 when other deployments hold one of the apps, unless `force`."""
        if not force and (holding := self._holding(app_ids)):
            raise errors.app_locked(sorted(other.id for other in holding))

    def postponed(self, app_id: str) -> bool:
        """True while the app waits for a step that has not begun."""
        deployment = self._of.get(app_id)
        return deployment is not None and app_id in deployment.later

    def keep(self, deployment: Deployment) -> None:
        """Have the next engine go on with it, once it is started; in the transaction of its change,
        before that."""
        self._keeping.begin(deployment, self._holding(deployment.app_ids))

    def start(self, deployment: Deployment) -> None:
        """Begin the first step; those that held one of its apps before have failed."""
        going_on = deployment.advance()
        self._overrule_others(deployment)
        if going_on:
            self._begin_step(deployment)
        else:
            self._end(deployment, "deployment_success")

    def recover(self, wanted: Apps) -> None:
        """Go on with what an earlier engine was at; `wanted` are the apps that there are."""
        for deployment in self._keeping.found(wanted):
            self.resume(deployment)

    def resume(self, deployment: Deployment) -> None:
        """Go on where an earlier engine was: whoever carries it out is to look at its step."""
        self._enter(deployment)
        deployment.advance()
        self._publish("deployment_info", deployment)

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
            self._keeping.moved_on(deployment)
            self._begin_step(deployment)
        else:
            self._end(deployment, "deployment_success")

    def has_failure(self, app_id: str) -> None:
        """A task of the app has failed: from that the next engine could not tell any more whether
        the deployment, if there is one, was over."""
        if app_id in self._of:
            self._keeping.keep(self._of[app_id])

    def fail(self, app_id: str) -> None:
        """The app will not come to be as its deployment, if there is one, wants it."""
        if app_id in self._of:
            self.cancel(self._of[app_id])

    def cancel(self, deployment: Deployment) -> None:
        """It is over, and has failed: what it would have done later is no longer held back."""
        self._publish("deployment_step_failure", deployment)
        self._end(deployment, "deployment_failed")
        self._begin(deployment.rest())

    def _holding(self, app_ids: Iterable[str]) -> Collection[Deployment]:
        """Those under way that touch one of the apps, each once."""
        found = [self._of[app_id] for app_id in app_ids if app_id in self._of]
        return {deployment.id: deployment for deployment in found}.values()

    def _overrule_others(self, deployment: Deployment) -> None:
        others = self._holding(deployment.app_ids)
        self._enter(deployment)
        for other in others:
            if other is not deployment:
                self.cancel(other)

    def _enter(self, deployment: Deployment) -> None:
        deployment.readiness = self._readiness
        self._all[deployment.id] = deployment
        self._of |= dict.fromkeys(deployment.app_ids, deployment)

    def _begin_step(self, deployment: Deployment) -> None:
        self._publish("deployment_info", deployment)
        self._begin(list(deployment.step))

    def _end(self, deployment: Deployment, type_: str) -> None:
        self._keeping.ended(deployment)
        del self._all[deployment.id]
        for app_id in deployment.app_ids:
            if self._of.get(app_id) is deployment:
                del self._of[app_id]
        self._events.publish(type_, id=deployment.id, plan=deployment.plan())

    def _publish(self, type_: str, deployment: Deployment) -> None:
        step = {"actions": deployment.current_actions()}
        self._events.publish(type_, plan=deployment.plan(), currentStep=step)
