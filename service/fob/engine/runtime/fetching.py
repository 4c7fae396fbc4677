"""Files that an app wants in its tasks' sandboxes before they start."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fob.engine.definitions import fetches
from fob.engine.programs import fetcher
from fob.engine.runtime.commands import CommandFailed, Commands, OnOutput

Json = dict[str, Any]

PROGRAM = Path(fetcher.__file__)
CACHE_BYTES = 2 * 2**30  # as Mesos has it


class FetchFailed(Exception):
    """Why something that the task wants is not there, in a sentence."""


@dataclass(frozen=True)
class FetchLimits:
    """What all that a task wants may take: `seconds`, and bytes on the disk, unpacked."""

    seconds: float
    size_bytes: int


class Fetching:
    """Fetches by a process of its own, which gets the `variables`; what apps want to be cached is
    kept in the folder `cache`, which is the engine's alone."""

    def __init__(
        self, cache: Path, commands: Commands, variables: dict[str, str], limits: FetchLimits
    ) -> None:
        self._cache = cache
        self._commands = commands
        self._variables = variables
        self._limits = limits

    def clear_leftovers(self) -> None:
        """Remove what an engine that died was fetching; for the start."""
        self._cache.mkdir(exist_ok=True)
        for path in self._cache.glob("*.part"):
            path.unlink(missing_ok=True)

    async def provide(self, definition: Json, sandbox: Path, say: OnOutput) -> None:
        """Fetch all that the app wants into `sandbox`, telling `say` how far it is.

        Raises `FetchFailed`; nothing is at work any more when this ends.
        """
        heard = bytearray()

        def hear(data: bytes) -> None:
            heard.extend(data)
            say(data)

        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._run(definition, sandbox, hear)
        except TimeoutError as error:
            seconds = self._limits.seconds
            raise FetchFailed(
                f"Failed to fetch its files within {seconds:g} seconds (FOB_FETCH_SECONDS)"
            ) from error
        except CommandFailed as error:
            said = heard.decode("utf-8", "replace").strip().split("\n")[-1]
            raise FetchFailed(said or f"The fetcher {error}") from error

    async def _run(self, definition: Json, sandbox: Path, say: OnOutput) -> None:
        order = sandbox.parent / "fetch"
        order.touch(0o600)  # a URI may hold a password
        order.write_text(json.dumps(self._order(definition, sandbox)))
        command = [sys.executable, "-I", "-S", str(PROGRAM), str(order)]
        await self._commands.run(command, self._variables, sandbox, say)

    def _order(self, definition: Json, sandbox: Path) -> Json:
        return {
            "items": [
                fetches.ITEM | item | {"name": fetches.name_of(item)}
                for item in definition["fetch"]
            ],
            "sandbox": str(sandbox),
            "cache": str(self._cache),
            "cache_bytes": CACHE_BYTES,
            "size_bytes": self._limits.size_bytes,
        }
