"""Other people's software for the benchmark: each in a folder of bench/.peers, by pip, npm or apt.

Nothing outside of that folder is changed: Debian's packages are unpacked there, not installed.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(__file__).parent / ".peers"
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE_SECONDS = 300


class NotInstalled(Exception):
    """It cannot be had here; the message says why."""


@dataclass(frozen=True)
class Environment:
    """Packages that share a folder; `tool` is pip, npm or apt, or "" for what needs nothing."""

    name: str
    tool: str = ""
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Installed:
    """Where an environment's programs are, what they need in their environment, which they are."""

    path: str
    variables: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def python(cls) -> "Installed":
        """The environment of whoever needs nothing but this Python."""
        return cls(str(Path(sys.executable).parent))

    def program(self, name: str) -> str:
        """The full name of a program; raises `NotInstalled`."""
        found = shutil.which(name, path=f"{self.path}:{os.environ['PATH']}:{SYSTEM}")
        if found is None:
            raise NotInstalled(f"there is no {name} in {self.path}")
        return found

    def version(self, package: str) -> str:
        return self.versions.get(package, "")


def install(environment: Environment) -> Installed:
    """Install what is not there yet; raises `NotInstalled`. An install that was begun and not
    finished is begun again."""
    if not environment.tool:
        return Installed.python()
    folder = CACHE / environment.name
    stamp = folder / "installed.json"
    wanted = list(environment.packages)
    kept = json.loads(stamp.read_text()) if stamp.exists() else {}
    # the programs of an environment name its folder, so one that was moved is no good
    if kept.get("packages") != wanted or kept.get("folder") != str(folder):
        print(f"installing {' '.join(wanted)} ({environment.tool}) ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        versions = _TOOLS[environment.tool](folder, wanted)
        kept = {"packages": wanted, "folder": str(folder), "versions": versions}
        stamp.write_text(json.dumps(kept))
    return _found(environment.tool, folder, kept["versions"])


def _found(tool: str, folder: Path, versions: dict[str, str]) -> Installed:
    if tool == "pip":
        return Installed(str(folder / "bin"), {}, versions)
    if tool == "npm":
        return Installed(":".join(map(str, folder.glob("node_modules/*/*/bin"))), {}, versions)
    programs = [str(folder / "usr" / name) for name in ("sbin", "bin")]
    libraries = ":".join(map(str, folder.glob("usr/lib/*-linux-gnu")))
    variables = {"LD_LIBRARY_PATH": libraries} if libraries else {}
    return Installed(":".join(programs), variables, versions)


def _pip(folder: Path, packages: list[str]) -> dict[str, str]:
    _run([sys.executable, "-m", "venv", str(folder)])
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    _run([*pip, "--quiet", "install", *packages])
    listed = json.loads(_run([*pip, "list", "--format=json"]))
    return {entry["name"]: entry["version"] for entry in listed}


def _npm(folder: Path, packages: list[str]) -> dict[str, str]:
    (folder / "package.json").write_text("{}")
    _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *packages])
    listed = json.loads(_run(["npm", "ls", "--json", "--prefix", str(folder)]))
    return {name: entry["version"] for name, entry in listed["dependencies"].items()}


def _apt(folder: Path, packages: list[str]) -> dict[str, str]:
    """What the system has already is used as it is; else the packages and what they lack."""
    installed = {name: _debian_version(name) for name in packages}
    if not all(installed.values()):
        (folder / "partial").mkdir()
        options = ["-o", f"Dir::Cache::archives={folder}", "-o", "Debug::NoLocking=1"]
        get = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "--download-only"]
        command = [*get, *options, "install", *packages]
        try:
            _run(command)
        except NotInstalled:  # the lists may be missing, or older than what is still to be had
            _run(["apt-get", "--quiet", "update"])
            _run(command)
        for archive in folder.glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(archive), str(folder)])
            name = archive.name.partition("_")[0]
            if name in installed:
                installed[name] = _run(["dpkg-deb", "--field", str(archive), "Version"]).strip()
    return installed


def _debian_version(package: str) -> str:
    """The version of an installed package; empty when it is not."""
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package]
    try:
        status, _, version = _run(query).partition(" ")
    except NotInstalled:
        return ""
    return version if status == "installed" else ""


def _run(command: list[str]) -> str:
    """What the command prints; raises `NotInstalled` with the end of what it complains of."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise NotInstalled(f"{' '.join(command[:3])} ...: {said}")
    return done.stdout


_TOOLS = {"pip": _pip, "npm": _npm, "apt": _apt}
