"""The key `fetch`, or `uris`: files that an app wants in its tasks' sandboxes before they start."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from fob.engine.definitions.field_types import (
    fault,
    listed,
    made_of,
    text,
    truth,
)
from fob.engine.programs import fetcher

Json = dict[str, Any]

SCHEMES = ("http", "https", "file", "")
# what Marathon unpacks of `uris`, which cannot say whether they want that
EXTRACTED = (*fetcher.TARS, ".zip", ".gz")

ITEM: Json = {"extract": True, "executable": False, "cache": False}
_URI = text(1, 1024)

READ = listed(made_of(dict.fromkeys(ITEM, truth) | {"uri": _URI, "destPath": _URI}, ["uri"]))
READ_URIS = listed(_URI)


def settled(items: list[Json]) -> list[Json]:
    """The files with every default; there are no `faults`."""
    return [ITEM | item for item in items]


def from_uris(uris: list[str]) -> list[Json]:
    """Marathon's older `uris` as `fetch`."""
    return [{"uri": uri, "extract": uri.lower().endswith(EXTRACTED)} for uri in uris]


def faults(definition: Json) -> Iterator[Json]:
    """What is wrong with `fetch`, by Marathon's paths."""
    for index, item in enumerate(definition["fetch"]):
        path = f"/fetch({index})"
        if error := _uri_error(item["uri"]):
            yield fault(f"{path}/uri", error)
        elif not _stays(name_of(item)):
            yield fault(f"{path}/destPath", "must be a path within the sandbox")


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


def name_of(item: Json) -> str:
    """Where it goes, below the sandbox."""
    return item.get("destPath") or PurePosixPath(unquote(urlsplit(item["uri"]).path)).name


def _stays(name: str) -> bool:
    if not name or name.startswith("/"):
        return False
    return ".." not in PurePosixPath(name).parts
