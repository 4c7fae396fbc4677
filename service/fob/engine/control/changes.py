"""Changes of the desired state: each is validated, stored, and carried out by a deployment."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from fob.engine import chunks, errors
from fob.engine.control import plans
from fob.engine.control.deployment import Deployment
from fob.engine.control.deployments import Deployments
from fob.engine.control.supervisor import Supervisor
from fob.engine.definitions import group_tree
from fob.engine.definitions.app_definitions import Definition, fault
from fob.engine.definitions.group_tree import Dependencies, Groups, Tree
from fob.engine.errors import ApiError
from fob.engine.events import Events
from fob.engine.runtime.docker.policy import DockerPolicy
from fob.engine.store.records import AppRecord, Store
from fob.engine.tasks import marathon_json
from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task
from fob.timeline import utc_now

# by id, the desired state of what a change concerns; None: removed
AppChanges = Mapping[str, Definition | None]
GroupChanges = Mapping[str, Dependencies | None]

_NONE: Mapping[str, None] = {}


class Changes:
    """Adds, changes and removes apps and groups; nothing else does. A change is stored completely
    or not at all, and then carried out in the order of dependencies.

    Every method that returns a `Deployment` raises `ApiError`: 409 when another deployment locks an
    app, unless `force`; 422 when the change is invalid; 507 when it cannot be stored.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        store: Store,
        deployments: Deployments,
        events: Events,
        policy: DockerPolicy,
    ) -> None:
        self._supervisor = supervisor
        self._apps = supervisor.apps
        self._store = store
        self._deployments = deployments
        self._events = events
        self._policy = policy
        self.groups = Groups(store.groups())

    def recover(self) -> None:
        """Add the apps that the supervisor has recovered to their groups."""
        for app_id in self._apps:
            self.groups.add_app(app_id)

    # apps

    def create(self, definition: Definition, force: bool = False) -> Deployment:
        """Create an app. Raises `ApiError` 409 also when its id is taken."""
        if definition["id"] in self._apps:
            raise errors.app_exists(definition["id"])
        return self._deploy({definition["id"]: definition}, force)

    def put(self, definitions: Iterable[Definition], force: bool) -> Deployment:
        """Create or change these apps, in one deployment. The tasks of existing apps are replaced
        unless only `instances` differs."""
        return self._deploy({each["id"]: each for each in definitions}, force)

    def restart(self, app: App, force: bool) -> Deployment:
        """Replace every task of `app`."""
        return self._deploy({app.id: app.definition}, force, restarted=[app.id])

    def remove(self, app: App, force: bool) -> Deployment:
        """Remove `app` at once, then stop its tasks."""
        return self._deploy({app.id: None}, force)

    def kill(self, tasks: Iterable[Task], scale: bool, force: bool) -> Deployment | None:
        """Kill `tasks`. Their apps replace them, except with `scale`: then the apps are scaled down
        first, by the deployment that is returned."""
        tasks = list(tasks)
        fewer: dict[str, Definition | None] = {}
        for app_id in {task.record.app_id for task in tasks} if scale else ():
            if app := self._apps.get(app_id):
                number = sum(task.record.app_id == app_id for task in tasks)
                left = max(0, app.instances - number)
                fewer[app_id] = app.definition | {"instances": left}
        deployment = self._deploy(fewer, force) if fewer else None
        for task in tasks:
            task.kill("killed on request")
        return deployment

    def versions(self, app: App) -> list[str]:
        """Return the versions of `app`, newest first."""
        return self._store.versions(app.id)

    def definition(self, app: App, version: str) -> Definition | None:
        """Return the definition at a version; None when that is not stored (any more)."""
        return self._store.definition(app.id, version)

    # groups

    def tree(self, group_id: str = "/") -> Tree:
        """Return the contents of a group. Raises `ApiError` 404 when it does not exist."""
        if group_id not in self.groups:
            raise ApiError(404, f"Group '{group_id}' does not exist")
        apps = {app_id: app.definition for app_id, app in self._apps.items()}
        return Tree(apps, self.groups.all()).below(group_id)

    def put_group(self, group_id: str, desired: Tree, force: bool) -> Deployment:
        """Replace the contents of a group, which may be new, by `desired`."""
        apps, groups = self._differences(group_id, desired)
        try:
            deployment = self._deploy(apps, force, groups, group_id=group_id)
        except ApiError as error:
            self._publish("group_change_failed", group_id, utc_now(), reason=str(error))
            raise
        if group_id in self.groups.explicit:
            self._store.put_group_version(group_id, deployment.version, self._content(group_id))
        return deployment

    def group_versions(self, group_id: str) -> dict[str, str]:
        """Return the contents of a group after each change, as JSON by version, newest first."""
        return self._store.group_versions(group_id)

    def plan(self, group_id: str, desired: Tree) -> tuple[plans.Step, ...]:
        """Return the steps that `put_group` would carry out."""
        return self._make_deployment(*self._differences(group_id, desired)).steps

    def roll_back(self, deployment: Deployment) -> Deployment:
        """Undo `deployment` by another one."""
        before, after = deployment.before, deployment.after
        apps: AppChanges = dict.fromkeys(after.apps) | before.apps
        groups: GroupChanges = dict.fromkeys(after.groups) | before.groups
        return self._deploy(apps, True, groups)

    def _content(self, group_id: str) -> str:
        content = marathon_json.group(
            group_id, self.tree(group_id), lambda id_: self._apps[id_].definition
        )
        return chunks.to_json(content)

    def _differences(self, group_id: str, desired: Tree) -> tuple[AppChanges, GroupChanges]:
        """Return what differs between a group and `desired`."""
        explicit = self.groups.explicit
        now = self.tree(group_id) if group_id in self.groups else Tree()
        groups: dict[str, Dependencies | None] = dict.fromkeys(now.groups.keys() & explicit)
        groups |= {above: explicit.get(above, ()) for above in group_tree.ancestors(group_id)}
        groups |= desired.groups
        groups.pop("/", None)
        same = [
            app_id
            for app_id, app in desired.apps.items()
            if app_id in now.apps
            and plans.same_configuration(app, now.apps[app_id])
            and app["instances"] == now.apps[app_id]["instances"]
        ]
        apps: AppChanges = dict.fromkeys(now.apps) | desired.apps
        return {id_: app for id_, app in apps.items() if id_ not in same}, groups

    # every change

    def _deploy(
        self,
        apps: AppChanges,
        force: bool,
        groups: GroupChanges = _NONE,
        restarted: Collection[str] = (),
        group_id: str = "",
    ) -> Deployment:
        """Store a change and start its deployment. Its event names `group_id`, by default the
        common group of the apps."""
        deployment = self._make_deployment(apps, groups, restarted)
        self._deployments.check_unlocked(apps, force)
        self._store_change(deployment)
        self._apply(deployment)
        self._deployments.start(deployment)
        parents = {group_tree.parent(app_id) for app_id in apps}
        changed = group_id or (parents.pop() if len(parents) == 1 else "/")
        self._publish("group_change_success", changed, deployment.version)
        return deployment

    def _make_deployment(
        self, apps: AppChanges, groups: GroupChanges, restarted: Collection[str] = ()
    ) -> Deployment:
        """Return the deployment of a change, which is not stored yet. Raises `ApiError` 422."""
        explicit = self.groups.explicit
        before = Tree(
            {id_: self._apps[id_].definition for id_ in apps if id_ in self._apps},
            {id_: explicit[id_] for id_ in groups if id_ in explicit},
        )
        version = _version_after(app["version"] for app in before.apps.values())
        after = Tree(
            {
                id_: _with_version(app, version, None if id_ in restarted else before.apps.get(id_))
                for id_, app in apps.items()
                if app is not None
            },
            {id_: needs for id_, needs in groups.items() if needs is not None},
        )
        self._check_ids(before, after)
        if faults := [f for app in after.apps.values() for f in self._policy.faults(app)]:
            raise errors.invalid(faults)
        return Deployment(
            before, after, plans.steps(before.apps, after.apps, explicit | after.groups), version
        )

    def _check_ids(self, before: Tree, after: Tree) -> None:
        """Raise `ApiError` 422 when an id would be that of an app and of a group."""
        new = after.apps.keys() - before.apps.keys()
        removed = before.apps.keys() - after.apps.keys()
        for id_ in new:
            above = set(group_tree.ancestors(id_)) - removed
            taken = self.groups.conflicts(id_, removed) or id_ in after.groups
            if taken or above & new or any(group_id in self._apps for group_id in above):
                text = "Groups and Applications may not have the same identifier."
                raise errors.invalid([fault("/", text)])

    def _store_change(self, deployment: Deployment) -> None:
        before, after = deployment.before, deployment.after
        with self._store.transaction():
            self._deployments.store(deployment)
            for app_id in before.apps.keys() - after.apps.keys():
                self._store.remove_app(app_id)
            for app in after.apps.values():
                self._store.put_app(app, deployment.version)
            for group_id in before.groups.keys() - after.groups.keys():
                self._store.remove_group(group_id)
            for group_id, needs in after.groups.items():
                self._store.put_group(group_id, needs)

    def _apply(self, deployment: Deployment) -> None:
        """Change the desired state in memory; tasks change when the step of their app begins."""
        before, after, version = deployment.before, deployment.after, deployment.version
        for app_id in before.apps.keys() - after.apps.keys():
            self._supervisor.remove(self._apps[app_id])
            self.groups.remove_app(app_id)
        for app_id, definition in after.apps.items():
            if app_id in self._apps:
                self._apps[app_id].change(definition, version)
            else:
                self._supervisor.add(AppRecord(definition, version, [], held=False))
                self.groups.add_app(app_id)
        for group_id in before.groups.keys() - after.groups.keys():
            del self.groups.explicit[group_id]
        self.groups.explicit |= after.groups

    def _publish(self, type_: str, group_id: str, version: str, **more: Any) -> None:
        self._events.publish(type_, groupId=group_id, version=version, **more)


def _with_version(definition: Definition, version: str, before: Definition | None) -> Definition:
    """Return `definition` with `version`. If only the scale differs from `before`, the time of the
    last change of configuration stays, and so do the tasks."""
    since = version
    if before is not None and plans.same_configuration(before, definition):
        since = before["versionInfo"]["lastConfigChangeAt"]
    info = {"lastScalingAt": version, "lastConfigChangeAt": since}
    return definition | {"version": version, "versionInfo": info}


def _version_after(versions: Iterable[str]) -> str:
    """Return the current time as a version; if that is not later than all `versions`, the newest of
    them and a millisecond."""
    now, newest = utc_now(), max(versions, default="")
    if now > newest:
        return now
    later = datetime.fromisoformat(newest).astimezone(UTC) + timedelta(milliseconds=1)
    return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")
