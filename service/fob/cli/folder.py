"""Packs a folder into the archive to register, without files that never belong to a function."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from fob.cli.progress import Progress
from fob.errors import BadRequest, TooLarge
from fob.runner.features.unzip import MAX_FILES, MAX_UNPACKED_BYTES
from fob.source import archive

IGNORE_FILE = ".fobignore"
ALWAYS_IGNORED = (
    *("__pycache__", "*.pyc", ".git", ".hg", ".svn", ".DS_Store", IGNORE_FILE),
    *(".venv", "node_modules", ".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
)


def packed(folder: Path) -> bytes:
    """Return the archive of a folder; equal files make equal archives.

    Leaves out `ALWAYS_IGNORED`, virtual environments, and everything that `.fobignore` matches.
    That file has one shell pattern per line, matched with names and with paths below the folder.
    Raises `BadRequest` for links and special files, `TooLarge` for more than the service accepts.
    """
    files: list[tuple[str, bytes]] = []
    size = 0
    with Progress(str(folder)) as progress:
        try:
            for file in _files(folder, folder, (*ALWAYS_IGNORED, *_patterns(folder / IGNORE_FILE))):
                files.append((file.relative_to(folder).as_posix(), file.read_bytes()))
                size += len(files[-1][1])
                progress.show(f"packing {len(files)} files, {size} bytes")
                _check(folder, len(files), size)
        except OSError as error:
            raise BadRequest(f"cannot read {error.filename}: {error.strerror}") from error
    if not files:
        raise BadRequest(f"{folder} has no files to register")
    return archive.pack(files)


def _check(folder: Path, count: int, size: int) -> None:
    if count > MAX_FILES or size > MAX_UNPACKED_BYTES:
        raise TooLarge(
            f"{folder} has more than {MAX_FILES} files or {MAX_UNPACKED_BYTES} bytes;"
            f" list what is not needed in its {IGNORE_FILE}"
        )


def _files(top: Path, folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files to pack, ordered by name."""
    for path in sorted(folder.iterdir()):
        if _matches(path.relative_to(top).as_posix(), patterns):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadRequest(
                f"{path} is a link or a special file, which cannot be packed:"
                f" replace it by a file, or list it in {top / IGNORE_FILE}"
            )
        if path.is_file():
            yield path
        elif not (path / "pyvenv.cfg").exists():
            yield from _files(top, path, patterns)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    name = os.path.basename(path)
    return any(fnmatchcase(name, pattern) or fnmatchcase(path, pattern) for pattern in patterns)


def _patterns(file: Path) -> list[str]:
    """Return the patterns in a `.fobignore`; none when the file does not exist."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise BadRequest(f"cannot read {file}: it is not UTF-8") from error
    return [line.strip().strip("/") for line in lines if line.strip() and line[0] != "#"]
