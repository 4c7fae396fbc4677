"""The load: wrk as it was installed."""

from pathlib import Path

from bench.generators import Generators, Target
from bench.install import Installed
from bench.machine import Cores

WRK = """#!/bin/sh
test "$LD_LIBRARY_PATH" = /where/its/libraries/are || { echo "no libraries" >&2; exit 1; }
measured='{"answers": 10, "seconds": 2, "errors": 0, "p50_us": 3, "p99_us": 4}'
trap 'kill $!; echo "$measured"; exit 0' INT
sleep 60 & wait
"""


def test_wrk_runs_with_what_it_needs_in_its_environment_until_it_is_interrupted(
    tmp_path: Path,
) -> None:
    (tmp_path / "wrk").write_text(WRK)
    (tmp_path / "wrk").chmod(0o755)
    wrk = Installed(str(tmp_path), {"LD_LIBRARY_PATH": "/where/its/libraries/are"})
    target = Target("nobody", "127.0.0.1", 1, "/", set)
    found = Generators(Cores(apart=False), wrk).closed(target, 1, 0.5)
    assert found == {"answers": 10, "rate": 5, "p50": 3, "p99": 4}
