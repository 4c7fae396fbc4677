import subprocess
import sys
from pathlib import Path

import pytest

import live
from fob.errors import Conflict, StorageFailed
from fob.state import held, is_held


def test_a_file_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    with held(lock, "taken"):
        assert is_held(lock)
        with pytest.raises(Conflict, match="taken"), held(lock, "taken"):
            pass
        assert is_held(lock)
    assert not is_held(lock)


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import sys, time, pathlib; from fob.state import held\n"
        f"with held(pathlib.Path({str(lock)!r}), ''): print(flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=live.SERVICE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_held(lock)
        process.kill()
    assert not is_held(lock)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageFailed, match="FOB_HOME"),
        held(tmp_path / "file" / "lock", ""),
    ):
        pass
