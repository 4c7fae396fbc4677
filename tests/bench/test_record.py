"""The file that a result is kept in."""

import json
from pathlib import Path
from typing import Any

from bench import record, stats


def result(**changed: Any) -> dict[str, Any]:
    known = {
        "format": record.FORMAT,
        "kind": "alone",
        "at": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789abcdef",
        "dirty": False,
        "quick": False,
        "values": {"start": stats.summary([1.0, 2.0], "ms"), "launcher": stats.summary([], "ms")},
    }
    return known | changed


def test_a_result_reads_back_as_it_was(tmp_path: Path) -> None:
    path = record.write(result(), tmp_path)
    assert path.name == "2026-01-02-0123456789-alone.json"
    assert json.loads(path.read_text()) == result()


def test_a_changed_tree_and_a_quick_run_prove_nothing(tmp_path: Path) -> None:
    for changed in ({"dirty": True}, {"quick": True}):
        path = record.write(result(**changed), tmp_path)
        assert path.name.startswith("local-")
    assert record.newest(tmp_path) == {}
    assert record.newest(tmp_path, local=True).keys() == {"alone"}


def test_the_newest_of_each_kind_counts(tmp_path: Path) -> None:
    older = result(at="2026-01-01T00:00:00+00:00")
    peers = result(kind="peers")
    for made in (result(), older, peers):
        record.write(made, tmp_path)
    (tmp_path / "2025-01-01-fedcba9876.json").write_text('{"results": {}}')  # the first format
    assert record.newest(tmp_path) == {"alone": result(), "peers": peers}
