"""The archive that `fob gen DIR` makes of a folder."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from fob.cli import folder
from fob.errors import BadRequest, TooLarge
from fob.runner.features import unzip


def fill(top: Path, *paths: str) -> Path:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(f"# {path}\n")
    return top


def names(body: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(body)).namelist()


def test_all_files_are_packed_under_their_paths(tmp_path: Path) -> None:
    fill(tmp_path, "main.py", "pkg/a.py", "pkg/data/x.bin", ".env")
    assert names(folder.packed(tmp_path)) == [".env", "main.py", "pkg/a.py", "pkg/data/x.bin"]


def test_the_same_files_make_the_same_archive(tmp_path: Path) -> None:
    first, second = (fill(tmp_path / name, "main.py", "b/a.py") for name in ("one", "two"))
    os.utime(second / "main.py", (0, 0))
    (second / "main.py").chmod(0o755)
    assert folder.packed(first) == folder.packed(second)


def test_files_that_never_belong_to_a_function_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "main.py", "a.pyc", "__pycache__/x", "p/__pycache__/x", ".git/config")
    fill(tmp_path, ".venv/x.py", "node_modules/x.js", ".mypy_cache/x")
    assert names(folder.packed(tmp_path)) == ["main.py"]


def test_a_virtual_environment_of_any_name_is_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "main.py", "env/pyvenv.cfg", "env/lib/x.py", "venv/real.py")
    assert names(folder.packed(tmp_path)) == ["main.py", "venv/real.py"]


def test_patterns_of_the_ignore_file_match_names_and_paths(tmp_path: Path) -> None:
    fill(tmp_path, "main.py", "a.csv", "d/b.csv", "tests/x.py", "d/tests.py", "d/secret")
    (tmp_path / ".fobignore").write_text("# data\n*.csv\n\ntests/\nd/sec*\n")
    assert names(folder.packed(tmp_path)) == ["d/tests.py", "main.py"]


def test_links_and_special_files_are_errors_unless_ignored(tmp_path: Path) -> None:
    fill(tmp_path, "main.py")
    (tmp_path / "link.py").symlink_to("main.py")
    with pytest.raises(BadRequest, match=r"link.py is a link or a special file"):
        folder.packed(tmp_path)
    (tmp_path / ".fobignore").write_text("link.py")
    assert names(folder.packed(tmp_path)) == ["main.py"]
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadRequest, match=r"pipe is a link or a special file"):
        folder.packed(tmp_path)


def test_a_folder_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="has no files to register"):
        folder.packed(tmp_path)


def test_more_than_the_service_accepts_is_an_error(tmp_path: Path) -> None:
    (fill(tmp_path, "main.py") / "big").write_bytes(bytes(unzip.MAX_UNPACKED_BYTES))
    with pytest.raises(TooLarge, match=r"has more than 1000 files or 10485760 bytes"):
        folder.packed(tmp_path)


def test_an_ignore_file_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (fill(tmp_path, "main.py") / ".fobignore").write_bytes(b"\xff\xfe")
    with pytest.raises(BadRequest, match="is not UTF-8"):
        folder.packed(tmp_path)
