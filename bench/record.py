"""The file that a result is kept in."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
FORMAT = 3  # of three kinds in 2; the first, before there were peers, had no number
COMMANDS = {"alone": "make bench", "peers": "make bench-peers"}

Result = dict[str, Any]


def write(result: Result, folder: Path = RESULTS) -> Path:
    """Write `<date>-<commit>-<kind>.json`; with `local-` in front for a changed tree or a quick
    run, which prove nothing."""
    folder.mkdir(exist_ok=True)
    name = f"{result['at'][:10]}-{result['commit'][:10]}-{result['kind']}.json"
    path = folder / (f"local-{name}" if result["dirty"] or result["quick"] else name)
    path.write_text(_compact(result) + "\n")
    return path


def _compact(result: Result) -> str:
    """JSON with a line for each figure, not for each of its thousands of samples."""
    head = {key: value for key, value in result.items() if key != "values"}
    lines = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in result["values"].items()]
    return json.dumps(head, indent=1)[:-2] + ',\n "values": {\n' + ",\n".join(lines) + "\n }\n}"


def newest(folder: Path = RESULTS, local: bool = False) -> dict[str, Result]:
    """The newest result of each kind; those of changed trees and quick runs only when `local`."""
    found: dict[str, Result] = {}
    for path in folder.glob("*.json"):
        result = json.loads(path.read_text())
        if result.get("format") != FORMAT or (path.name.startswith("local-") and not local):
            continue
        kept = found.get(result["kind"])
        if kept is None or kept["at"] < result["at"]:
            found[result["kind"]] = result
    return found
