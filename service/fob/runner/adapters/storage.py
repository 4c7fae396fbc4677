"""The module storage of SeBS (github.com/spcl/serverless-benchmarks), on a folder.

Functions of that suite do `from . import storage`; a bucket is a folder, an object a file in it.
"""

from __future__ import annotations

import os
import shutil

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

FOLDER = ""  # set by sebs.py


class storage:
    """Objects by bucket and name; names made by an upload are unique."""

    instance: storage | None = None

    @staticmethod
    def get_instance() -> storage:
        storage.instance = storage.instance or storage()
        return storage.instance

    @staticmethod
    def unique_name(name: str) -> str:
        stem, extension = os.path.splitext(name)
        return f"{stem}.{os.urandom(4).hex()}{extension}"

    def upload(self, bucket: str, file: str, filepath: str) -> str:
        """Store the file at `filepath` under a unique name like `file`; return that name."""
        with open(filepath, "rb") as data:
            return self.upload_stream(bucket, file, data)

    def upload_stream(self, bucket: str, file: str, bytes_data: Any) -> str:
        name = storage.unique_name(file)
        path = _path(bucket, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stored:
            if hasattr(bytes_data, "read"):
                shutil.copyfileobj(bytes_data, stored)
            else:
                stored.write(bytes_data)
        return name

    def download(self, bucket: str, file: str, filepath: str) -> None:
        os.makedirs(os.path.dirname(filepath) or ".", exist_ok=True)
        shutil.copyfile(_path(bucket, file), filepath)

    def download_stream(self, bucket: str, file: str) -> bytes:
        with open(_path(bucket, file), "rb") as stored:
            return stored.read()

    def download_directory(self, bucket: str, prefix: str, path: str) -> None:
        names = list(self.list_directory(bucket, prefix))
        if not names:
            raise RuntimeError(f"no objects in bucket {bucket!r} with prefix {prefix!r}")
        for name in names:
            self.download(bucket, name, os.path.join(path, name))

    def list_directory(self, bucket: str, prefix: str) -> Iterator[str]:
        """The names in a bucket that start with `prefix`."""
        root = _path(bucket, "")
        for folder, _, files in sorted(os.walk(root)):
            for file in sorted(files):
                name = os.path.relpath(os.path.join(folder, file), root)
                if name.startswith(prefix):
                    yield name


def _path(bucket: str, name: str) -> str:
    """The file of an object. Raises ValueError if that is outside its bucket."""
    root = os.path.abspath(os.path.join(FOLDER, bucket))
    path = os.path.abspath(os.path.join(root, name))
    if os.path.commonpath([path, root]) != root or os.path.dirname(root) != os.path.abspath(FOLDER):
        raise ValueError(f"{bucket}/{name} is outside the storage")
    return path
