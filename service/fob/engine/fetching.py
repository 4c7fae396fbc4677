"""Files that an app wants in its tasks' sandboxes before they start: `fetch`, or `uris`."""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from fob.engine import fetcher
from fob.engine.commands import CommandFailed, Commands, Say

Json = dict[str, Any]

PROGRAM = Path(fetcher.__file__)
SCHEMES = ("http", "https", "file", "")
CACHE_BYTES = 2 * 2**30  # as Mesos has it
# what Marathon unpacks of `uris`, which cannot say whether they want that
EXTRACTED = (*fetcher.TARS, ".zip", ".gz")

_ITEM: Json = {"extract": True, "executable": False, "cache": False}


class FetchFailed(Exception):
    """Why something that the task wants is not there, in a sentence."""


@dataclass(frozen=True)
class Limits:
    """What all that a task wants may take: `seconds`, and bytes on the disk, unpacked."""

    seconds: float
    size_bytes: int


class Fetching:
    """Fetches by a process of its own, which gets the `variables`; what apps want to be cached is
    kept in the folder `cache`, which is the engine's alone."""

    def __init__(
        self, cache: Path, commands: Commands, variables: dict[str, str], limits: Limits
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

    async def provide(self, definition: Json, sandbox: Path, say: Say) -> None:
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

    async def _run(self, definition: Json, sandbox: Path, say: Say) -> None:
        order = sandbox.parent / "fetch"
        order.touch(0o600)  # a URI may hold a password
        order.write_text(json.dumps(self._order(definition, sandbox)))
        command = [sys.executable, "-I", "-S", str(PROGRAM), str(order)]
        await self._commands.run(command, self._variables, sandbox, say)

    def _order(self, definition: Json, sandbox: Path) -> Json:
        return {
            "items": [_ITEM | item | {"name": _name(item)} for item in definition["fetch"]],
            "sandbox": str(sandbox),
            "cache": str(self._cache),
            "cache_bytes": CACHE_BYTES,
            "size_bytes": self._limits.size_bytes,
        }


def settled(definition: Json) -> Json:
    """The key `fetch`, with defaults. The definition has no `faults`."""
    given = [{k: v for k, v in item.items() if v is not None} for item in definition["fetch"]]
    return {"fetch": [_ITEM | item for item in given]}


def from_uris(uris: Any) -> Any:
    """Marathon's older `uris` as `fetch`."""
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        return uris
    return [{"uri": uri, "extract": uri.lower().endswith(EXTRACTED)} for uri in uris]


def faults(definition: Json) -> Iterator[Json]:
    """What is wrong with `fetch`, by Marathon's paths."""
    for index, item in enumerate(definition["fetch"]):
        path = f"/fetch({index})"
        if not isinstance(item, dict) or not isinstance(item.get("uri"), str):
            yield _fault(f"{path}/uri", "error.path.missing")
        elif error := _uri_error(item["uri"]):
            yield _fault(f"{path}/uri", error)
        elif not _stays(_name(item)):
            yield _fault(f"{path}/destPath", "must be a path within the sandbox")


def _uri_error(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "URI has invalid syntax."
    if parts.scheme not in SCHEMES:
        return f"this engine fetches by http, https and file, not by {parts.scheme}"
    if not parts.scheme and not uri.startswith("/"):
        return "URI has invalid syntax."
    return ""


def _name(item: Json) -> str:
    """Where it goes, below the sandbox."""
    return item.get("destPath") or PurePosixPath(unquote(urlsplit(item["uri"]).path)).name


def _stays(name: Any) -> bool:
    if not isinstance(name, str) or not name or name.startswith("/"):
        return False
    return ".." not in PurePosixPath(name).parts


def _fault(path: str, error: str) -> Json:
    return {"path": path, "errors": [error]}
