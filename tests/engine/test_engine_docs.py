"""docs/engine.md matches the code."""

import re

import live
from fob.engine.api.routes import AGENT_ROUTES, ROUTES

PAGE = (live.ROOT / "docs" / "engine.md").read_text()
METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
NAMES = {"versions": "<version>", "tasks": "<task>", "deployments": "<deployment>"}


def path_of(pattern: str) -> str:
    """A route's pattern as the page writes it: `/v2/apps/<id>/restart`."""
    path = pattern.removesuffix("/*")  # trailing slashes
    path = path.replace(r"(?:/*(.*?))/+\*", "/<group>/*").replace("(?:/+(.*?))?", "/<id>")
    path = path.replace("/*(.+?)", "/<id>").replace("/+", "/")
    return re.sub(r"(\w+)/\(\[\^/\]\+\)", lambda m: f"{m[1]}/{NAMES.get(m[1], '<id>')}", path)


def test_the_documented_routes_are_those_of_the_code() -> None:
    of_code = {
        path_of(pattern): ", ".join(m for m in METHODS if m.lower() in vars(handler))
        for pattern, handler in [*ROUTES, *AGENT_ROUTES]
    }
    rows = re.findall(r"^\| `(/[^`]+)` \| ([A-Z, ]+) \|", PAGE, re.MULTILINE)
    assert dict(rows) == of_code


def test_the_documented_events_are_those_of_the_code() -> None:
    word = re.compile(
        r"\b(?:\w+_event|deployment_(?:info|failed|success|step_\w+)|group_change_\w+"
        r"|event_stream_\w+)\b"
    )
    sources = (live.SERVICE / "fob" / "engine").rglob("*.py")
    of_code = {
        name
        for source in sources
        for text in re.findall(r'"(\w+)"', source.read_text())
        for name in word.findall(text)
    }
    listed = PAGE[PAGE.index("The events are: `") :].partition("\n\n")[0]
    assert re.findall(r"`(\w+)`", listed) == sorted(of_code)
