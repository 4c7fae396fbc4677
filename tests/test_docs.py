"""The documentation says what the code does, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

import live
from fob import config

PAGES = sorted([*live.ROOT.glob("*.md"), *(live.ROOT / "docs").glob("**/*.md")])
LINK = re.compile(r"\[[^]]*\]\((?!\w+:)([^)#\s]*)(#[^)\s]*)?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def page(name: str) -> str:
    return (live.ROOT / "docs" / name).read_text()


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, made as GitHub makes them."""
    words = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text))
    return {f"#{heading.strip().replace(' ', '-')}" for heading in words}


def test_the_settings_are_those_of_the_code() -> None:
    rows = [
        f"| `{name}` | {f'`{default}`' if default else ''} | {allowed} | {meaning} |"
        for name, default, allowed, meaning in config.table()
    ]
    documented = [line for line in page("configuration.md").splitlines() if line.startswith("| `")]
    assert documented == rows


def test_every_route_is_documented() -> None:
    text = page("api.md")
    assert [route for route in routes() if route not in text] == []


def routes() -> list[str]:
    """The dispatcher's routes as the documentation writes them: `/api/meta/<id>`."""
    table = (live.SERVICE / "fob" / "dispatcher" / "api" / "routes.py").read_text()
    found = re.findall(r'\(rf?"(/[^"]*)"', table)
    assert "/api/stats" in found
    return [re.sub(r"\{_ID\}|\.\*", "<id>", route) for route in found]


@pytest.mark.parametrize("file", PAGES, ids=lambda path: path.name)
def test_every_relative_link_resolves(file: Path) -> None:
    text = file.read_text()
    for target, anchor in LINK.findall(text):
        linked = (file.parent / target) if target else file
        assert linked.exists(), f"{file.name} links to {target}"
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked.read_text()), f"{file.name} links to {target}{anchor}"


def test_every_module_that_the_map_names_exists() -> None:
    named = set(re.findall(r"[\w/]*\w+\.py\b", page("architecture.md")))
    files = [f"/{path.relative_to(live.SERVICE)}" for path in live.SERVICE.rglob("*.py")]
    tests = {str(path.relative_to(live.ROOT)) for path in (live.ROOT / "tests").rglob("*.py")}
    missing = {name for name in named if not any(file.endswith(f"/{name}") for file in files)}
    assert {name for name in missing if name.strip("/") not in tests} == set()


def test_the_map_has_a_paragraph_for_every_room() -> None:
    text = page("architecture.md")
    package = live.SERVICE / "fob"
    rooms = {str(path.parent.relative_to(package)) for path in package.rglob("*.py")} - {"."}
    assert [room for room in rooms if f"**`{room}/`**" not in text] == []
