"""A folder as the archive to register: its files but for what is never part of a function."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from fob.cli.progress import Progress
from fob.errors import BadRequest, TooLarge
from fob.parts.unzip import FILES_LIMIT, UNPACKED_LIMIT
from fob.source import archive

IGNORE_FILE = ".fobignore"
NEVER = (
    *("__pycache__", "*.pyc", ".git", ".hg", ".svn", ".DS_Store", IGNORE_FILE),
    *(".venv", "node_modules", ".tox", ".mypy_cache", ".pytest_cache", ".ruff_cache"),
)


def packed(folder: Path) -> bytes:
    """The archive of a folder, always the same for the same files.

    Left out are `NEVER`, virtual environments, and what the patterns in `.fobignore` match: shell
    patterns, one a line, each for a name or a path from the folder on. Raises `BadRequest` for
    links and special files, `TooLarge` for more than the service would take.
    """
    held: list[tuple[str, bytes]] = []
    size = 0
    with Progress(str(folder)) as progress:
        try:
            for file in _files(folder, folder, (*NEVER, *_patterns(folder / IGNORE_FILE))):
                held.append((file.relative_to(folder).as_posix(), file.read_bytes()))
                size += len(held[-1][1])
                progress.show(f"packing {len(held)} files, {size} bytes")
                _check(folder, len(held), size)
        except OSError as error:
            raise BadRequest(f"cannot read {error.filename}: {error.strerror}") from error
    if not held:
        raise BadRequest(f"{folder} has no files to register")
    return archive.pack(held)


def _check(folder: Path, count: int, size: int) -> None:
    if count > FILES_LIMIT or size > UNPACKED_LIMIT:
        raise TooLarge(
            f"{folder} has more than {FILES_LIMIT} files or {UNPACKED_LIMIT} bytes;"
            f" name what is not needed in its {IGNORE_FILE}"
        )


def _files(top: Path, folder: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    """The files to take, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if _matches(path.relative_to(top).as_posix(), patterns):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadRequest(
                f"{path} is a link or a special file, and only files and folders are taken:"
                f" put the file itself there, or name it in {top / IGNORE_FILE}"
            )
        if path.is_file():
            yield path
        elif not (path / "pyvenv.cfg").exists():
            yield from _files(top, path, patterns)


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    name = os.path.basename(path)
    return any(fnmatchcase(name, pattern) or fnmatchcase(path, pattern) for pattern in patterns)


def _patterns(file: Path) -> list[str]:
    """The patterns of a `.fobignore`; none when there is no such file."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise BadRequest(f"cannot read {file}: it is not UTF-8") from error
    return [line.strip().strip("/") for line in lines if line.strip() and line[0] != "#"]
