"""The fields `fetch` and `uris`: files to fetch into a task's sandbox before it starts."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from fob.engine.definitions.field_types import (
    boolean,
    fault,
    list_of,
    object_of,
    text,
)
from fob.engine.programs import fetcher

Json = dict[str, Any]

SCHEMES = ("http", "https", "file", "")
# what Marathon extracts of `uris`, which have no flag for it
EXTRACTED = (*fetcher.TARS, ".zip", ".gz")

ITEM: Json = {"extract": True, "executable": False, "cache": False}
_uri = text(1, 1024)

parse = list_of(object_of(dict.fromkeys(ITEM, boolean) | {"uri": _uri, "destPath": _uri}, ["uri"]))
parse_uris = list_of(_uri)


def with_defaults(items: list[Json]) -> list[Json]:
    """Return the items with defaults filled in. They must have no `faults`."""
    return [ITEM | item for item in items]


def from_uris(uris: list[str]) -> list[Json]:
    """Convert Marathon's legacy `uris` to `fetch` items."""
    return [{"uri": uri, "extract": uri.lower().endswith(EXTRACTED)} for uri in uris]


def faults(definition: Json) -> Iterator[Json]:
    """Faults of `fetch`, with Marathon's paths."""
    for index, item in enumerate(definition["fetch"]):
        path = f"/fetch({index})"
        if error := _uri_error(item["uri"]):
            yield fault(f"{path}/uri", error)
        elif not _is_inside(name_of(item)):
            yield fault(f"{path}/destPath", "must be a path within the sandbox")


def _uri_error(uri: str) -> str:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "URI has invalid syntax."
    if parts.scheme not in SCHEMES:
        return f"this engine fetches http, https and file URIs, not {parts.scheme}"
    if not parts.scheme and not uri.startswith("/"):
        return "URI has invalid syntax."
    return ""


def name_of(item: Json) -> str:
    """Return the path of the fetched file, relative to the sandbox."""
    return item.get("destPath") or PurePosixPath(unquote(urlsplit(item["uri"]).path)).name


def _is_inside(name: str) -> bool:
    if not name or name.startswith("/"):
        return False
    return ".." not in PurePosixPath(name).parts
