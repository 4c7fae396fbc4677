"""Deployments on the disk: an engine goes on with those that another one had begun."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fob.engine.control.deployment import Deployment
from fob.engine.control.plans import Action, Apps
from fob.engine.definitions.group_tree import Tree
from fob.engine.errors import ApiError
from fob.engine.store.deployment_records import DeploymentRecord, DeploymentRecords

log = logging.getLogger(__name__)


class Keeping:
    """Keeps deployments from their beginning to their end.

    The creation of one app is not kept, for it is the most frequent change, and the app says all
    that there is to know; only once it has failed there is a record, by `keep`.
    """

    def __init__(self, underway: DeploymentRecords) -> None:
        self._underway = underway

    def begin(self, deployment: Deployment, instead_of: Iterable[Deployment]) -> None:
        """Keep a deployment, and those no longer whose apps it takes; in the transaction of its
        change, before that. Raises `Refusal` 507 when it cannot be kept."""
        for other in instead_of:
            if other.kept:
                self._underway.remove(other.id)
        if deployment.steps and not deployment.creates_one:
            self._underway.put(_record(deployment))
            deployment.kept = True

    def keep(self, deployment: Deployment) -> None:
        """Keep one that is under way, if it is not kept yet."""
        if not deployment.kept:
            with _as_far_as_possible(deployment):
                self._underway.put(_record(deployment), durable=False)
                deployment.kept = True

    def moved_on(self, deployment: Deployment) -> None:
        """Its next step is under way."""
        if deployment.kept:
            with _as_far_as_possible(deployment):
                self._underway.set_step(deployment.id, deployment.current)

    def ended(self, deployment: Deployment) -> None:
        """It is over."""
        if deployment.kept:
            with _as_far_as_possible(deployment):
                self._underway.remove(deployment.id)

    def found(self, wanted: Apps) -> Iterator[Deployment]:
        """Those that were under way, the oldest first; `wanted` are the apps that there are."""
        for record in self._underway.all():
            if _is_stale(record, wanted):  # an engine was here that knew of no records
                self._underway.remove(record.id)
            else:
                yield _deployment(record, wanted)


@contextmanager
def _as_far_as_possible(deployment: Deployment) -> Iterator[None]:
    """A full disk stops no deployment."""
    try:
        yield
    except ApiError as full:
        log.error("the state of deployment %s is not kept: %s", deployment.id, full)


def _record(deployment: Deployment) -> DeploymentRecord:
    before, after = deployment.before, deployment.after
    return DeploymentRecord(
        id=deployment.id,
        version=deployment.version,
        step=max(deployment.current, 0),
        steps=[[action.json() for action in step] for step in deployment.steps],
        before=before.apps,
        after=list(after.apps),
        groups_before=before.groups,
        groups_after=after.groups,
    )


def _deployment(record: DeploymentRecord, wanted: Apps) -> Deployment:
    """It, about to begin with the step that was under way."""
    steps = tuple(tuple(map(Action.from_json, step)) for step in record.steps)
    before = Tree(record.before, record.groups_before)
    after = Tree({app_id: wanted[app_id] for app_id in record.after}, record.groups_after)
    deployment = Deployment(before, after, steps, record.version, record.id)
    deployment.current = record.step - 1
    deployment.kept = True
    return deployment


def _is_stale(record: DeploymentRecord, wanted: Apps) -> bool:
    """True when its apps are not what it has made of them."""
    there = all(wanted.get(id_, {}).get("version") == record.version for id_ in record.after)
    gone = not any(id_ in wanted for id_ in record.before.keys() - record.after)
    return not (there and gone)
