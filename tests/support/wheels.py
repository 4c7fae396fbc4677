"""Packages made on the spot, for installations that need no network."""

import zipfile
from pathlib import Path


def wheel(folder: Path, name: str, version: str = "1.0", **more: str) -> Path:
    """A wheel of the one module `name`, whose VERSION tells which; `more` is metadata."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in more.items())
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def offline(folder: Path) -> dict[str, str]:
    """Settings by which pip (and no uv) takes packages from `folder` and from nowhere else."""
    return {
        "PATH": "/usr/bin:/bin",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
