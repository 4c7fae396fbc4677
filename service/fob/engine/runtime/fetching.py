"""Fetch the files that an app names (`fetch`) into the sandboxes of its tasks before they start."""

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
MAX_CACHE_BYTES = 2 * 2**30  # as in Mesos


class FetchFailed(Exception):
    """Why a file could not be fetched, in a sentence."""


@dataclass(frozen=True)
class FetchLimits:
    """Limits for all files of a task together: `seconds`, and bytes on disk, unpacked."""

    seconds: float
    size_bytes: int


class Fetching:
    """Fetches in a separate process, which gets the `variables`. Files that an app wants cached
    are kept in the folder `cache`, which no other engine uses."""

    def __init__(
        self, cache: Path, commands: Commands, variables: dict[str, str], limits: FetchLimits
    ) -> None:
        self._cache = cache
        self._commands = commands
        self._variables = variables
        self._limits = limits

    def clear_leftovers(self) -> None:
        """Remove what an earlier engine was fetching when it died."""
        self._cache.mkdir(exist_ok=True)
        for path in self._cache.glob("*.part"):
            path.unlink(missing_ok=True)

    async def provide(self, definition: Json, sandbox: Path, on_output: OnOutput) -> None:
        """Fetch the app's files into `sandbox`; `on_output` gets lines of progress.

        Raises `FetchFailed`. When this returns, raises or is cancelled, the fetcher has ended.
        """
        output = bytearray()

        def collect(data: bytes) -> None:
            output.extend(data)
            on_output(data)

        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._run(definition, sandbox, collect)
        except TimeoutError as error:
            seconds = self._limits.seconds
            raise FetchFailed(
                f"Failed to fetch its files within {seconds:g} seconds (FOB_FETCH_SECONDS)"
            ) from error
        except CommandFailed as error:
            last_line = output.decode("utf-8", "replace").strip().split("\n")[-1]
            raise FetchFailed(last_line or f"The fetcher {error}") from error

    async def _run(self, definition: Json, sandbox: Path, on_output: OnOutput) -> None:
        request = sandbox.parent / "fetch"
        request.touch(0o600)  # a URI may contain a password
        request.write_text(json.dumps(self._request(definition, sandbox)))
        command = [sys.executable, "-I", "-S", str(PROGRAM), str(request)]
        await self._commands.run(command, self._variables, sandbox, on_output)

    def _request(self, definition: Json, sandbox: Path) -> Json:
        return {
            "items": [
                fetches.ITEM | item | {"name": fetches.name_of(item)}
                for item in definition["fetch"]
            ],
            "sandbox": str(sandbox),
            "cache": str(self._cache),
            "cache_bytes": MAX_CACHE_BYTES,
            "size_bytes": self._limits.size_bytes,
        }
