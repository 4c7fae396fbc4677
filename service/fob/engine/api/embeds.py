"""The query `?embed=`: which optional fields the JSON of apps and groups has."""

from collections.abc import Iterable

TASKS, LAST_TASK_FAILURE, READINESS = "tasks", "lastTaskFailure", "readiness"
TASK_STATS = "taskStats"
ONE_APP = frozenset((TASKS, LAST_TASK_FAILURE))  # always embedded in the response for one app
OF_GROUPS = {"group.apps": "apps", "group.groups": "groups", "group.pods": "pods"}
_IN_GROUPS = "group.apps."
_PREFIXES = (_IN_GROUPS, "apps.", "app.")
_ALIASES = {"failures": ONE_APP}


def of_apps(given: Iterable[str]) -> frozenset[str]:
    """Return the fields to embed in apps; prefixes are optional, and `failures` stands for two."""
    names: set[str] = set()
    for name in given:
        prefix = next((each for each in _PREFIXES if name.startswith(each)), "")
        name = name.removeprefix(prefix)
        names |= _ALIASES.get(name, {name})
    return frozenset(names)


def of_group(given: list[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the fields to embed in the apps of a group, and in groups: all if none is given."""
    apps = [name for name in given if name.startswith(_IN_GROUPS)]
    return of_apps(apps), frozenset(given or OF_GROUPS)
