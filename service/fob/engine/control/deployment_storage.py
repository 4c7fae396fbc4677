"""Storage of deployments in progress, so that the next engine can resume them."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fob.engine.control.deployment import Deployment
from fob.engine.control.plans import Action, Apps
from fob.engine.definitions.group_tree import Tree
from fob.engine.errors import ApiError
from fob.engine.store.deployment_records import DeploymentRecord, DeploymentRecords

log = logging.getLogger(__name__)


class DeploymentStorage:
    """Stores deployments until they end.

    The creation of a single app, the most frequent change, is not stored, because it follows from
    the stored app. Only after a failure it needs a record: see `store_after_failure`.
    """

    def __init__(self, records: DeploymentRecords) -> None:
        self._records = records

    def store(self, deployment: Deployment, replaced: Iterable[Deployment]) -> None:
        """Store a new deployment and remove the `replaced` ones.

        Call this in the transaction of its change, before the apps are changed. Raises `ApiError`
        507 when the disk is full.
        """
        for other in replaced:
            if other.stored:
                self._records.remove(other.id)
        if deployment.steps and not deployment.creates_one_app:
            self._records.put(_record(deployment))
            deployment.stored = True

    def store_after_failure(self, deployment: Deployment) -> None:
        """Store a deployment in progress unless it is stored: after a failed task, the next engine
        could not tell from the app alone whether it had ended."""
        if not deployment.stored:
            with _log_if_full(deployment):
                self._records.put(_record(deployment), durable=False)
                deployment.stored = True

    def store_step(self, deployment: Deployment) -> None:
        """Store which step is the current one."""
        if deployment.stored:
            with _log_if_full(deployment):
                self._records.set_step(deployment.id, deployment.current)

    def remove(self, deployment: Deployment) -> None:
        """Remove a deployment that has ended."""
        if deployment.stored:
            with _log_if_full(deployment):
                self._records.remove(deployment.id)

    def load(self, apps: Apps) -> Iterator[Deployment]:
        """Yield the stored deployments, oldest first; `apps` are the current definitions."""
        for record in self._records.all():
            if _is_stale(record, apps):  # an older version of fob, without records, was here
                self._records.remove(record.id)
            else:
                yield _deployment(record, apps)


@contextmanager
def _log_if_full(deployment: Deployment) -> Iterator[None]:
    """Log an `ApiError`: a full disk must not stop a deployment in progress."""
    try:
        yield
    except ApiError as full:
        log.error("cannot store the progress of deployment %s: %s", deployment.id, full)


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


def _deployment(record: DeploymentRecord, apps: Apps) -> Deployment:
    """Return the deployment, positioned so that `advance` goes to the step in progress."""
    steps = tuple(tuple(map(Action.from_json, step)) for step in record.steps)
    before = Tree(record.before, record.groups_before)
    after = Tree({app_id: apps[app_id] for app_id in record.after}, record.groups_after)
    deployment = Deployment(before, after, steps, record.version, record.id)
    deployment.current = record.step - 1
    deployment.stored = True
    return deployment


def _is_stale(record: DeploymentRecord, apps: Apps) -> bool:
    """True when its apps have been changed since, without it."""
    present = all(apps.get(id_, {}).get("version") == record.version for id_ in record.after)
    removed = not any(id_ in apps for id_ in record.before.keys() - record.after)
    return not (present and removed)
