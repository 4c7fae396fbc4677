"""Installs what a function needs, on a machine where nobody did so before it started: a cluster's.

On fob's own engine there is an environment already, and FOB_SITE_PACKAGES says where.
"""

from __future__ import annotations

import os
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping

# run by an interpreter that has its site-packages, with pip among them, as the runner has not
PROGRAM = """
import os, platform, sys
folder, requires_python, requirements = sys.argv[1:]
try:
    from pip._vendor.packaging.specifiers import SpecifierSet
except ImportError:  # without pip nothing can tell whether this Python will do
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
    """Install what FOB_REQUIREMENTS (one a line) names, for a Python that FOB_REQUIRES_PYTHON
    allows, into the sandbox.

    Returns the folder, which is FOB_SITE_PACKAGES from then on. Raises `RuntimeError` after
    standard error got the reason.
    """
    folder = os.path.abspath(os.path.join(environ.get("MESOS_SANDBOX", ""), "site-packages"))
    needs = [environ.get(name, "") for name in ("FOB_REQUIRES_PYTHON", "FOB_REQUIREMENTS")]
    if not os.path.isdir(folder):
        half = f"{folder}.building"
        done = subprocess.run([sys.executable, "-c", PROGRAM, half, *needs], stdout=2, check=False)
        if done.returncode:
            raise RuntimeError("its dependencies cannot be installed")
        os.rename(half, folder)
    environ["FOB_SITE_PACKAGES"] = folder
    return folder
