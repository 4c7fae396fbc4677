"""The deployments that an earlier engine was at, taken up where it was."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from fob.engine.control.deployment import creation
from fob.engine.control.deployments import Deployments
from fob.engine.control.plans import Kind
from fob.engine.store.records import Store
from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task


def resume(deployments: Deployments, store: Store, apps: Mapping[str, App]) -> None:
    """Have all of them under way again, before their apps are looked at.

    That of a new app alone is not kept, nor that it is over. It is under way if not all its tasks
    have come to run, and none has failed: from then on it is kept.
    """
    deployments.recover({app_id: app.definition for app_id, app in apps.items()})
    for app in _not_all_have_run(store, apps.values()):
        if deployments.of(app.id) is None and len(store.versions(app.id)) == 1:
            deployments.resume(creation(app.definition))
    for app in apps.values():
        if app.held:  # and the engine was killed before it could end the deployment
            deployments.fail(app.id)


def removed(deployments: Deployments, living: Iterable[Task]) -> list[str]:
    """The apps that a deployment was about to remove and of which no task is `living` any more."""
    left = {task.record.app_id for task in living}
    actions = [action for deployment in deployments.all() for action in deployment.step]
    return [a.app_id for a in actions if a.kind is Kind.STOP and a.app_id not in left]


def _not_all_have_run(store: Store, apps: Iterable[App]) -> Iterator[App]:
    have_run = Counter(record.app_id for record in store.tasks() if record.started_at)
    return (app for app in apps if have_run[app.id] < app.instances and not app.failures)
