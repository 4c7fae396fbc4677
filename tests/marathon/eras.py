"""Differences between versions of Marathon: the fields they know, and their errors."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema

SCHEMAS = Path(__file__).parents[1] / "schemas"
VERSIONS = ("0.15.3", "1.1.1", "1.3.0", "1.4.0", "1.5.8", "1.8.222", "1.11.24")
# the defaults of a definition
DEFAULTS: dict[str, Any] = {
    "cmd": None,
    "args": None,
    "container": None,
    "instances": 1,
    "cpus": 0.1,
    "mem": 128,
    "disk": 0,
    "env": {},
    "labels": {},
    "constraints": [],
    "dependencies": [],
    "healthChecks": [],
    "acceptedResourceRoles": None,
    "maxLaunchDelaySeconds": 3600,
}

App = dict[str, Any]


@dataclass(frozen=True)
class Era:
    """A version of Marathon."""

    version: str

    def since(self, *number: int) -> bool:
        return tuple(int(part) for part in self.version.split(".")) >= number

    @cached_property
    def schema(self) -> Any:
        """The published schema of the nearest version."""
        newest = [name for name in ("1.4.0", "1.5.8", "1.6.590") if self.since(*_two(name))]
        name = newest[-1] if newest else "1.1.1"
        text = (SCHEMAS / f"AppDefinition-{name}.json").read_text()
        return jsonschema.Draft4Validator(json.loads(text))

    def faults(self, definition: App) -> list[dict[str, Any]]:
        """Return what this version rejects in a definition, in the form of `details`."""
        found = self.schema.iter_errors(definition)
        return [
            {"path": "/" + "/".join(map(str, fault.path)), "errors": [fault.message]}
            for fault in found
        ]

    def invalid(self, faults: list[dict[str, Any]]) -> tuple[int, Any]:
        status = 422 if self.since(1, 5) else 400
        return status, {"message": "Invalid JSON", "details": faults}

    def app(self, definition: App) -> App:
        """Return the definition as this version keeps it: with defaults, without unknown keys."""
        kept = DEFAULTS | definition
        ports = len(kept.pop("portDefinitions", [])) if self.since(1) else 0
        given = [10000 + n for n in range(ports or 1)]
        if self.since(1):
            kept["portDefinitions"] = [{"port": n, "protocol": "tcp", "labels": {}} for n in given]
        if self.since(1, 5):
            kept |= _networked(kept["container"]) | {"unreachableStrategy": "disabled"}
            return {key: value for key, value in kept.items() if value is not None}
        return kept | {"ports": given, "uris": [], "storeUrls": [], "ipAddress": None}

    def task(self, task: App) -> App:
        """Return the task in the form of `tasks[]`."""
        unknown = {"instanceId", "alive"}
        unknown |= set() if self.since(1, 3) else {"state", "localVolumes"}
        unknown |= set() if self.since(1, 1) else {"ipAddresses"}
        answer = {key: value for key, value in task.items() if key not in unknown}
        if task["alive"] is not None:
            check = {"taskId": task["id"], "alive": task["alive"], "consecutiveFailures": 0}
            answer["healthCheckResults"] = [check]
        return answer

    def ids(self, app_id: str, uuid: str) -> tuple[str, str]:
        """Return the id of a task and the id of its instance."""
        flat = app_id.strip("/").replace("/", "_")
        if self.since(1, 9):
            return f"{flat}.instance-{uuid}._app.1", f"{flat}.instance-{uuid}"
        return f"{flat}.{uuid}", f"{flat}.marathon-{uuid}"

    def status_update(self, task: App, state: str, message: str = "") -> App:
        """The data of a `status_update_event`."""
        kept = ("slaveId", "appId", "host", "ports", "version")
        kept += ("ipAddresses",) if self.since(1, 1) else ()
        data = {"taskId": task["id"], "taskStatus": state, "message": message}
        return {key: task[key] for key in kept} | data

    def health(self, task: App) -> list[tuple[str, App]]:
        """The events of a health check's new result."""
        data = {"appId": task["appId"], "version": task["version"], "alive": task["alive"]}
        if not self.since(1, 4):
            return [("health_status_changed_event", data | {"taskId": task["id"]})]
        instance = {"instanceId": task["instanceId"], "runSpecVersion": task["version"]}
        instance |= {"runSpecId": task["appId"], "healthy": task["alive"]}
        return [
            ("health_status_changed_event", data | {"instanceId": task["instanceId"]}),
            ("instance_health_changed_event", instance),
        ]

    @property
    def agents(self) -> str:
        """The admin router's path to agents."""
        kinds = "agent|slave" if self.since(1, 3) else "slave"
        return f"GET /({kinds})/S1/"

    @property
    def filters_events(self) -> bool:
        return self.since(1, 3, 7)

    @property
    def redirects_events(self) -> bool:
        """Whether a standby redirects event streams to the leader; older ones proxy them."""
        return self.since(1, 7)


def _networked(container: App | None) -> App:
    """Return a container's network and ports in the form of 1.5 and newer."""
    if not container:
        return {"networks": [{"mode": "host"}]}
    docker = {"image": container["docker"]["image"], "privileged": False, "parameters": []}
    moved = {
        "type": "DOCKER",
        "docker": docker,
        "portMappings": container["docker"]["portMappings"],
    }
    return {"networks": [{"mode": "container/bridge"}], "container": moved}


def _two(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
