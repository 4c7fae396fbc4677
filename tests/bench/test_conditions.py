"""Where numbers come from, and whether the machine was quiet."""

import json
import subprocess
from pathlib import Path

import pytest

from bench import conditions, stats


def figure(*samples: float) -> stats.Figure:
    return stats.summary(samples, "1/s")


def noise(one: stats.Figure, other: stats.Figure, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said of two equal servers on a machine that does nothing else."""
    ticks = iter([(0, 0, 0), (100, 100, 0), (1000, 500, 0)])
    monkeypatch.setattr(conditions, "_ticks", lambda: next(ticks))
    monkeypatch.setattr(conditions.time, "sleep", lambda seconds: None)
    found = conditions.Watch().noise({"a": one, "b": other}, [("a", "b")])
    noisy: list[str] = found["noisy"]
    return noisy


def test_circumstances_name_machine_versions_and_commit() -> None:
    found = conditions.circumstances()
    assert found.keys() == {"at", "commit", "dirty", "machine", "versions"}
    assert found["machine"]["cores"] >= 1
    assert json.dumps(found)


def test_a_changed_tree_is_dirty_and_a_new_result_is_not_a_change(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(conditions, "ROOT", tmp_path)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "bench" / "results").mkdir(parents=True)
    (tmp_path / "bench" / "results" / "new.json").write_text("{}")
    assert not conditions.circumstances()["dirty"]
    (tmp_path / "changed.py").write_text("")
    assert conditions.circumstances()["dirty"]


def test_equals_that_are_close_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    assert noise(figure(100, 101, 99), figure(102, 101, 100), monkeypatch) == []


def test_equals_that_are_apart_are_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = noise(figure(100, 100, 100), figure(110, 110, 110), monkeypatch)
    assert said.startswith("10% between two servers that are the same")


def test_rounds_that_differ_are_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = figure(50, 60, 100, 100, 140, 150)
    (said,) = noise(wide, wide, monkeypatch)
    assert "spread of the rounds" in said


def test_a_busy_or_stolen_machine_is_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(0, 0, 0), (100, 50, 0), (1100, 500, 100)])
    monkeypatch.setattr(conditions, "_ticks", lambda: next(ticks))
    monkeypatch.setattr(conditions.time, "sleep", lambda seconds: None)
    busy, stolen = conditions.Watch().noise({}, [("a", "b")])["noisy"]
    assert busy.startswith("50% of the machine was busy")
    assert stolen.startswith("10% of the machine was stolen")
