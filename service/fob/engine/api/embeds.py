"""What `?embed=` asks for: of an app, and of a group."""

from collections.abc import Iterable

TASKS, LAST_TASK_FAILURE, READINESS = "tasks", "lastTaskFailure", "readiness"
TASK_STATS = "taskStats"
ONE_APP = frozenset((TASKS, LAST_TASK_FAILURE))  # always there when an app is asked for by its id
OF_GROUPS = {"group.apps": "apps", "group.groups": "groups", "group.pods": "pods"}
_IN_GROUPS = "group.apps."
_PREFIXES = (_IN_GROUPS, "apps.", "app.")
_OLDER = {"failures": ONE_APP}


def of_apps(given: Iterable[str]) -> frozenset[str]:
    """Their names without the prefix, which may be missing; the older `failures` is two."""
    names: set[str] = set()
    for name in given:
        prefix = next((each for each in _PREFIXES if name.startswith(each)), "")
        name = name.removeprefix(prefix)
        names |= _OLDER.get(name, {name})
    return frozenset(names)


def of_group(given: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    """What is asked for of the apps in a group, and of it and its groups: all when nothing is."""
    apps = [name for name in given if name.startswith(_IN_GROUPS)]
    return of_apps(apps), frozenset(given or OF_GROUPS)
