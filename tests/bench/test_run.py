"""The whole of `make bench`, with sizes as small as can be."""

import json
import subprocess
import sys
from pathlib import Path

import live
from bench import report
from bench.peers import DIRECT, FLOOR, ROUTED, TWIN


def test_a_quick_run_measures_everything_once(tmp_path: Path) -> None:
    flags = ["--quick", "--no-wrk", "--seed=7", f"--results={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.run", "alone", *flags],
        cwd=live.ROOT,
        env=live.environment(tmp_path / "unused"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("local-*-alone.json")
    result = json.loads(path.read_text())
    assert result["seed"] == 7
    assert result["left_out"] == {}
    assert len(result["values"]["launcher"]["samples"]) == 2
    for target in (DIRECT, ROUTED, FLOOR.name, TWIN.name):
        for figure in ("c1/p50", "c16/rate", "c64/cpu", "open/p99"):
            assert f"{target}/{figure}" in result["values"]
    assert len(result["values"]["2/memory"]["samples"]) == 2
    assert str(path) in done.stdout
    assert "reached" in report.targets({"alone": result})
