"""Installs Marathon's real clients from their registries into `.venv/clients`.

A client is installed again only if its recipe has changed; `make clean` removes the folder.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import live

FOLDER = live.ROOT / ".venv" / "clients"
PATIENCE_SECONDS = 300.0
# output that means an unreachable registry, not a wrong recipe
UNREACHABLE = (
    "No matching distribution",
    "Could not find a version",
    "Connection",
    "Temporary failure",
    "Unable to locate package",
    "Failed to fetch",
    "ENOTFOUND",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "network",
)
# makes the abstract base classes importable from `collections`, as up to Python 3.9
SHIM = """\
import collections, collections.abc
for name in collections.abc.__all__:
    setattr(collections, name, getattr(collections.abc, name))
"""
DCOS_NEEDS = """
    requests<2.20 urllib3<1.24 chardet<3.1 idna<2.8 certifi jsonschema<3 pager<4 prettytable<1
    pygments<3 six<2 toml<1 docopt<1 pkginfo<2
"""
DCOS = {
    "0.4.0": """
        pypng==0.0.18 pystache<1 rollbar<1 oauth2client<2 httplib2<0.20 pyparsing<3 pyasn1<1
        pyasn1-modules<1 rsa<5
    """,
    "0.6.1": "retrying<2 sseclient==0.0.19 PyJWT==1.4.2 cryptography cffi pycparser",
}


class NoRegistry(Exception):
    """The client cannot be installed here; the text says why."""


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Raise `NoRegistry` if a registry cannot be reached, else `AssertionError` on failure."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    if done.returncode:
        told = done.stdout + done.stderr
        lines = [line for line in told.splitlines() if any(word in line for word in UNREACHABLE)]
        if lines:
            raise NoRegistry(lines[-1])
        raise AssertionError(f"{command} ended with {done.returncode}:\n{told[-3000:]}")


def dcos(version: str) -> Callable[[Path], None]:
    """The DC/OS command line, with packages of its time, which do not declare all they need."""

    def install(folder: Path) -> None:
        run(_old_python(), "-m", "venv", folder)
        pip = folder / "bin" / "pip"
        run(pip, "install", "setuptools<58", "wheel", "packaging")
        own = [f"dcos=={version}", f"dcoscli=={version}", *(DCOS_NEEDS + DCOS[version]).split()]
        run(pip, "install", "--no-deps", "--no-build-isolation", *own)
        _shim(folder)

    return install


def _shim(folder: Path) -> None:
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "old_collections.py").write_text(SHIM)
    (packages / "old_collections.pth").write_text("import old_collections\n")


def _old_python() -> str:
    """Return a Python that still has what setuptools of those years needs."""
    if sys.version_info < (3, 12):
        return sys.executable
    for minor in (11, 10, 9, 8):
        if found := shutil.which(f"python3.{minor}"):
            return found
    raise NoRegistry("the DC/OS command line needs a Python older than 3.12, and there is none")


def library(folder: Path) -> None:
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "marathon==0.13.0")
    _shim(folder)


def node(folder: Path) -> None:
    if not shutil.which("npm"):
        raise NoRegistry("there is no npm here")
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    run("npm", "install", "--no-audit", "--no-fund", "marathon-node@1.1.0", cwd=folder)


def prometheus(folder: Path) -> None:
    """The program from Debian's package; nothing is installed and no service started."""
    if not shutil.which("apt-get"):
        raise NoRegistry("there is no apt-get here")
    folder.mkdir()
    try:
        run("apt-get", "download", "prometheus", cwd=folder)
    except (NoRegistry, AssertionError):
        if os.getuid() != 0:
            raise NoRegistry("apt does not know prometheus, and only root may update it") from None
        run("apt-get", "update")
        run("apt-get", "download", "prometheus", cwd=folder)
    (package,) = folder.glob("*.deb")
    run("dpkg", "-x", package, folder)
    package.unlink()


RECIPES: dict[str, Callable[[Path], None]] = {
    "dcos-0.4.0": dcos("0.4.0"),
    "dcos-0.6.1": dcos("0.6.1"),
    "library": library,
    "node": node,
    "prometheus": prometheus,
}


def install_all() -> dict[str, Path | str]:
    """Install missing clients in parallel; return each one's folder, or why it failed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    # the tests run in several processes: one installs, the others wait
    with (FOLDER / "lock").open("w") as lock, ThreadPoolExecutor() as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return dict(zip(RECIPES, pool.map(_installed, RECIPES), strict=True))


def _installed(name: str) -> Path | str:
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    folder = FOLDER / f"{name}-{recipe}"
    complete = folder / "complete"
    if not complete.exists():
        for outdated in FOLDER.glob(f"{name}-*"):
            shutil.rmtree(outdated)
        try:
            RECIPES[name](folder)
        except (NoRegistry, subprocess.TimeoutExpired) as error:
            return f"{name}: {error}"
        complete.touch()
    return folder
