"""What apps may ask of the Docker engine: by default, nothing that gives access to the host."""

from collections.abc import Iterator
from typing import Any

from fob.engine.definitions.containers import Faults, image_of
from fob.engine.runtime.docker import parameters
from fob.engine.runtime.docker.host import DockerHost
from fob.engine.runtime.docker.parameters import PRIVILEGED, VOLUMES
from fob.engine.runtime.resources import NoRoom
from fob.errors import BadRequest

_WORDS = (PRIVILEGED, VOLUMES)


class DockerPolicy:
    """What `setting`, the value of FOB_DOCKER_ALLOW, permits on `host`.

    Raises `BadRequest` for an unknown value.
    """

    def __init__(self, setting: str, host: DockerHost) -> None:
        self._allowed = frozenset(setting.replace(",", " ").split())
        self._host = host
        if unknown := self._allowed.difference(_WORDS):
            raise BadRequest(
                f"FOB_DOCKER_ALLOW names {', '.join(sorted(unknown))};"
                f" it can be any of {', '.join(_WORDS)}"
            )

    def faults(self, definition: dict[str, Any]) -> Faults:
        """The parts of the app's definition that are not permitted here."""
        if not image_of(definition):
            return []
        return [{"path": path, "errors": [why]} for path, why in self._faults(definition)]

    def check(self, definition: dict[str, Any]) -> None:
        """Raise `NoRoom` for an app whose containers cannot run here now."""
        if not image_of(definition):
            return
        if faults := self.faults(definition):  # FOB_DOCKER_ALLOW has changed since it was created
            raise NoRoom("UnfulfilledConstraint", faults[0]["errors"][0])
        self._host.check()

    def _faults(self, definition: dict[str, Any]) -> Iterator[tuple[str, str]]:
        container = definition["container"]
        docker = container["docker"]
        if docker["privileged"] and PRIVILEGED not in self._allowed:
            why = f"privileged containers are refused: {parameters.not_allowed(PRIVILEGED)}"
            yield "/container/docker/privileged", why
        if container["volumes"] and VOLUMES not in self._allowed:
            why = f"folders of the host are refused: {parameters.not_allowed(VOLUMES)}"
            yield "/container/volumes", why
        for index, given in enumerate(docker["parameters"]):
            if why := parameters.fault(given["key"], given["value"], self._allowed):
                yield f"/container/docker/parameters({index})", why
