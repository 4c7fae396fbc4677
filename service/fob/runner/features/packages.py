"""Installs a function's requirements at its start, on a cluster.

fob's own engine has installed them beforehand, and sets FOB_SITE_PACKAGES.
"""

from __future__ import annotations

import os
import subprocess
import sys

from fob.contract import REQUIREMENTS, REQUIRES_PYTHON, SITE_PACKAGES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

# run with site-packages, where pip is; the runner itself runs without
PROGRAM = """
import os, platform, sys
folder, requires_python, requirements = sys.argv[1:]
try:
    from pip._vendor.packaging.specifiers import SpecifierSet
except ImportError:  # without pip the Python version cannot be checked
    if requirements:
        sys.exit("fob: " + sys.executable + " has no pip; use an image that has, as python:3 does")
else:
    version = platform.python_version()
    if not SpecifierSet(requires_python).contains(version, prereleases=True):
        sys.exit("fob: it requires Python " + requires_python + ", and this is " + version)
if not requirements:
    os.makedirs(folder)
    sys.exit()
pip = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
more = ["--progress-bar", "off", "--target", folder, "--", *requirements.split("\\n")]
os.execv(sys.executable, pip + more)
"""


def install(environ: MutableMapping[str, str]) -> str:
    """Install FOB_REQUIREMENTS (one per line) into the sandbox, if FOB_REQUIRES_PYTHON allows it.

    Returns the folder, and sets FOB_SITE_PACKAGES to it. Raises `RuntimeError` when the reason is
    on standard error.
    """
    folder = os.path.abspath(os.path.join(environ.get("MESOS_SANDBOX", ""), "site-packages"))
    needs = [environ.get(name, "") for name in (REQUIRES_PYTHON, REQUIREMENTS)]
    if not os.path.isdir(folder):
        unfinished = f"{folder}.building"
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, unfinished, *needs], stdout=2, check=False
        )
        if done.returncode:
            raise RuntimeError("its dependencies cannot be installed")
        os.rename(unfinished, folder)
    environ[SITE_PACKAGES] = folder
    return folder
