"""Waiting until the disk has what was written."""

import os
from collections.abc import Callable
from pathlib import Path


def sync(path: Path, how: Callable[[int], None]) -> None:
    """`os.fsync` or `os.fdatasync` the file at `path`, or a folder: the names of its files."""
    fd = os.open(path, os.O_RDONLY)
    try:
        how(fd)
    finally:
        os.close(fd)
