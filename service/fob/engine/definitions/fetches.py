"""The key `fetch`, or `uris`: files that an app wants in its tasks' sandboxes before they start."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from fob.engine.programs import fetcher

Json = dict[str, Any]

SCHEMES = ("http", "https", "file", "")
# what Marathon unpacks of `uris`, which cannot say whether they want that
EXTRACTED = (*fetcher.TARS, ".zip", ".gz")

ITEM: Json = {"extract": True, "executable": False, "cache": False}


def settled(definition: Json) -> Json:
    """The key `fetch`, with defaults. The definition has no `faults`."""
    given = [{k: v for k, v in item.items() if v is not None} for item in definition["fetch"]]
    return {"fetch": [ITEM | item for item in given]}


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
        elif not _stays(name_of(item)):
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


def name_of(item: Json) -> str:
    """Where it goes, below the sandbox."""
    return item.get("destPath") or PurePosixPath(unquote(urlsplit(item["uri"]).path)).name


def _stays(name: Any) -> bool:
    if not isinstance(name, str) or not name or name.startswith("/"):
        return False
    return ".." not in PurePosixPath(name).parts


def _fault(path: str, error: str) -> Json:
    return {"path": path, "errors": [error]}
