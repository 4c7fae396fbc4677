"""What is wanted, and every change of it: checked, kept, and made by a deployment."""

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

_NONE: Mapping[str, None] = {}


class Changes:
    """The one place where apps and groups come, change and go. Each change is kept whole or not at
    all, and then made, in the order of dependencies."""

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
        """Take note of the apps that the supervisor has found again."""
        for app_id in self._apps:
            self.groups.add_app(app_id)

    # apps

    def create(self, definition: Definition, force: bool = False) -> Deployment:
        """A new app. Raises `Refusal` 409 when its id is taken, 507 when it cannot be kept."""
        if definition["id"] in self._apps:
            raise errors.app_exists(definition["id"])
        return self._deploy({definition["id"]: definition}, force)

    def put(self, definitions: Iterable[Definition], force: bool) -> Deployment:
        """Have these apps, new or changed, in one deployment. Tasks of those that were there are
        replaced unless only `instances` differs."""
        return self._deploy({each["id"]: each for each in definitions}, force)

    def restart(self, app: App, force: bool) -> Deployment:
        """Replace every task of `app`."""
        return self._deploy({app.id: app.definition}, force, restarted=[app.id])

    def remove(self, app: App, force: bool) -> Deployment:
        """Forget `app` now, then stop its tasks."""
        return self._deploy({app.id: None}, force)

    def kill(self, tasks: Iterable[Task], scale: bool, force: bool) -> Deployment | None:
        """Stop `tasks`; they are replaced, unless `scale`: then their apps want fewer from now."""
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
        """Its versions, newest first."""
        return self._store.versions(app.id)

    def definition(self, app: App, version: str) -> Definition | None:
        """What it was at a version; None when that is not known any more."""
        return self._store.definition(app.id, version)

    # groups

    def tree(self, group_id: str = "/") -> Tree:
        """What is in a group. Raises `Refusal` 404 when it is not there."""
        if group_id not in self.groups:
            raise ApiError(404, f"Group '{group_id}' does not exist")
        apps = {app_id: app.definition for app_id, app in self._apps.items()}
        return Tree(apps, self.groups.all()).below(group_id)

    def regroup(self, group_id: str, wanted: Tree, force: bool) -> Deployment:
        """Have in the group what `wanted` says, and nothing else."""
        apps, made = self._differences(group_id, wanted)
        try:
            deployment = self._deploy(apps, force, made, group_id=group_id)
        except ApiError as refusal:
            reason = str(refusal)
            self._tell_group("group_change_failed", group_id, utc_now(), reason=reason)
            raise
        if group_id in self.groups.explicit:
            self._store.put_group_version(group_id, deployment.version, self._content(group_id))
        return deployment

    def group_versions(self, group_id: str) -> dict[str, str]:
        """What was in a group after each change of it, as JSON, by version; newest first."""
        return self._store.group_versions(group_id)

    def plan(self, group_id: str, wanted: Tree) -> tuple[plans.Step, ...]:
        """The steps that `regroup` would take."""
        return self._prepared(*self._differences(group_id, wanted)).steps

    def roll_back(self, deployment: Deployment) -> Deployment:
        """Undo what `deployment` does, by another."""
        apps: dict[str, Definition | None] = dict.fromkeys(deployment.after.apps)
        made: dict[str, Dependencies | None] = dict.fromkeys(deployment.after.groups)
        return self._deploy(apps | deployment.before.apps, True, made | deployment.before.groups)

    def _content(self, group_id: str) -> str:
        content = marathon_json.group(
            group_id, self.tree(group_id), lambda id_: self._apps[id_].definition
        )
        return chunks.to_json(content)

    def _differences(
        self, group_id: str, wanted: Tree
    ) -> tuple[dict[str, Definition | None], dict[str, Dependencies | None]]:
        now = self.tree(group_id) if group_id in self.groups else Tree()
        made: dict[str, Dependencies | None] = dict.fromkeys(
            now.groups.keys() & self.groups.explicit
        )
        made |= {
            above: self.groups.explicit.get(above, ()) for above in group_tree.ancestors(group_id)
        }
        apps: dict[str, Definition | None] = dict.fromkeys(now.apps)
        made |= wanted.groups
        made.pop("/", None)
        apps |= wanted.apps
        same = [
            app_id
            for app_id, app in wanted.apps.items()
            if app_id in now.apps
            and plans.same_configuration(app, now.apps[app_id])
            and app["instances"] == now.apps[app_id]["instances"]
        ]
        return {id_: app for id_, app in apps.items() if id_ not in same}, made

    # every change

    def _deploy(
        self,
        apps: Mapping[str, Definition | None],
        force: bool,
        made: Mapping[str, Dependencies | None] = _NONE,
        restarted: Collection[str] = (),
        group_id: str = "",
    ) -> Deployment:
        """Have these apps and groups as they are given; None: not at all. Told is `group_id`, else
        the group that the apps are in."""
        deployment = self._prepared(apps, made, restarted)
        self._deployments.check_unlocked(apps, force)
        self._keep(deployment)
        self._enter(deployment)
        self._deployments.start(deployment)
        above = {group_tree.parent(app_id) for app_id in apps}
        told = group_id or (above.pop() if len(above) == 1 else "/")
        self._tell_group("group_change_success", told, deployment.version)
        return deployment

    def _prepared(
        self,
        apps: Mapping[str, Definition | None],
        made: Mapping[str, Dependencies | None],
        restarted: Collection[str] = (),
    ) -> Deployment:
        """The deployment, with nothing changed yet; raises `Refusal` 422 when it cannot be."""
        before = Tree(
            {id_: self._apps[id_].definition for id_ in apps if id_ in self._apps},
            {id_: self.groups.explicit[id_] for id_ in made if id_ in self.groups.explicit},
        )
        version = _after(app["version"] for app in before.apps.values())
        after = Tree(
            {
                id_: _stamped(app, version, None if id_ in restarted else before.apps.get(id_))
                for id_, app in apps.items()
                if app is not None
            },
            {id_: needs for id_, needs in made.items() if needs is not None},
        )
        self._check_ids(before, after)
        if refused := [f for app in after.apps.values() for f in self._policy.faults(app)]:
            raise errors.invalid(refused)
        steps = plans.steps(before.apps, after.apps, self.groups.explicit | after.groups)
        return Deployment(before, after, steps, version)

    def _check_ids(self, before: Tree, after: Tree) -> None:
        """Raise `Refusal` 422 when something would be an app and a group."""
        new = after.apps.keys() - before.apps.keys()
        gone = before.apps.keys() - after.apps.keys()
        for id_ in new:
            above = set(group_tree.ancestors(id_)) - gone
            taken = self.groups.conflicts(id_, gone) or id_ in after.groups
            if taken or above & new or any(group_id in self._apps for group_id in above):
                text = "Groups and Applications may not have the same identifier."
                raise errors.invalid([fault("/", text)])

    def _keep(self, deployment: Deployment) -> None:
        before, after = deployment.before, deployment.after
        with self._store.transaction():
            self._deployments.keep(deployment)
            for app_id in before.apps.keys() - after.apps.keys():
                self._store.remove_app(app_id)
            for app in after.apps.values():
                self._store.put_app(app, deployment.version)
            for group_id in before.groups.keys() - after.groups.keys():
                self._store.remove_group(group_id)
            for group_id, needs in after.groups.items():
                self._store.put_group(group_id, needs)

    def _enter(self, deployment: Deployment) -> None:
        """The supervisor wants it from now on; it does nothing about it until its step begins."""
        before, after, version = deployment.before, deployment.after, deployment.version
        for app_id in before.apps.keys() - after.apps.keys():
            self._supervisor.forget(self._apps[app_id])
            self.groups.remove_app(app_id)
        for app_id, definition in after.apps.items():
            if app_id in self._apps:
                self._apps[app_id].change(definition, version)
            else:
                self._supervisor.enter(AppRecord(definition, version, [], held=False))
                self.groups.add_app(app_id)
        for group_id in before.groups.keys() - after.groups.keys():
            del self.groups.explicit[group_id]
        self.groups.explicit |= after.groups

    def _tell_group(self, type_: str, group_id: str, version: str, **more: Any) -> None:
        self._events.publish(type_, groupId=group_id, version=version, **more)


def _stamped(definition: Definition, version: str, before: Definition | None) -> Definition:
    """`definition` as `version`; its tasks from `before` stay when only the scale differs."""
    since = version
    if before is not None and plans.same_configuration(before, definition):
        since = before["versionInfo"]["lastConfigChangeAt"]
    info = {"lastScalingAt": version, "lastConfigChangeAt": since}
    return definition | {"version": version, "versionInfo": info}


def _after(versions: Iterable[str]) -> str:
    """Now as a version, or the next millisecond when one of `versions` is not past yet."""
    now, newest = utc_now(), max(versions, default="")
    if now > newest:
        return now
    later = datetime.fromisoformat(newest).astimezone(UTC) + timedelta(milliseconds=1)
    return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")
