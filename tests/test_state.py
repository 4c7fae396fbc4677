import subprocess
import sys
from pathlib import Path

import pytest

import live
from fob.errors import Conflict, StorageFailed
from fob.state import is_locked, locked


def test_a_file_is_locked_by_one_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "new" / "lock"
    with locked(lock, "taken"):
        assert is_locked(lock)
        with pytest.raises(Conflict, match="taken"), locked(lock, "taken"):
            pass
        assert is_locked(lock)
    assert not is_locked(lock)


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = (
        "import sys, time, pathlib; from fob.state import locked\n"
        f"with locked(pathlib.Path({str(lock)!r}), ''): print(flush=True); time.sleep(1000)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=live.SERVICE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_locked(lock)
        process.kill()
    assert not is_locked(lock)


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageFailed, match="FOB_HOME"),
        locked(tmp_path / "file" / "lock", ""),
    ):
        pass
