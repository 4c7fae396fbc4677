"""What several tests of the engine's parts work on."""

from pathlib import Path

import pytest

from fob.engine.runtime.task_folders import TaskFolder


@pytest.fixture
def folder(tmp_path: Path) -> TaskFolder:
    folder = TaskFolder(tmp_path / "task")
    folder.create()
    return folder
