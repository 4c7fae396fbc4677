"""A Docker engine of the tests' own, in a network namespace of its own, with a Python image.

Images cannot be pulled in a closed network, so the base image is made of the Python that runs the
tests: its executable, standard library, pip and the shared libraries they load, and a shell.
"""

import contextlib
import ctypes
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pip

import live

BASE = "python:3-slim"
TOOLS = (
    "sh",
    "mkdir",
    "chmod",
    "chown",
    "sleep",
)  # what the Dockerfile's RUN lines use, and the tests
CLONE_NEWNET = 0x40000000
START_SECONDS = 60
SKIPPED = re.compile(r"(^|/)(site-packages|dist-packages|test|tests|idlelib|__pycache__)(/|$)")


def missing() -> str:
    """Why no engine can be had here; empty when one can."""
    if os.geteuid() != 0:
        return "a Docker engine needs root"
    absent = [tool for tool in ("dockerd", "docker", "ip", "nsenter") if not shutil.which(tool)]
    return f"not installed: {', '.join(absent)}" if absent else ""


class Engine:
    """A running dockerd; `docker` talks to it, `fetch` to its containers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.socket = folder / "sock"
        self._namespace = f"fob-{os.getpid()}"
        self._inside = ["nsenter", f"--net=/run/netns/{self._namespace}"]
        self._log = (folder / "log").open("wb")
        # Debian's client has BuildKit built in; a newer one wants a plugin for it
        self._client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"

    @property
    def host(self) -> str:
        """What DOCKER_HOST would be."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        _run("ip", "netns", "add", self._namespace)
        _run(*self._inside, "ip", "link", "set", "lo", "up")
        self.start_again()

    def start_again(self) -> None:
        self._process = subprocess.Popen(
            [
                *self._inside,
                "dockerd",
                f"--data-root={self._folder}/data",
                f"--exec-root={self._folder}/exec",
                f"--pidfile={self._folder}/pid",
                f"--host={self.host}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        live.session_pids.add(self._process.pid)
        self._wait_until_up()

    def end(self) -> None:
        """End dockerd, and with it its containers; `start_again` finds what it had."""
        self.send(signal.SIGTERM)
        self._process.wait(START_SECONDS)

    def crash(self) -> None:
        """Kill dockerd, whose containers live on until `start_again`."""
        # the next one would take this for its own while it dies
        containerd = int((self._folder / "exec" / "containerd" / "containerd.pid").read_text())
        self.send(signal.SIGKILL)
        self._process.wait(START_SECONDS)
        live.until(lambda: not Path(f"/proc/{containerd}").exists(), "the end of containerd")

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def stop(self) -> None:
        self.end()
        self._log.close()
        for mount in _mounts_under(self._folder):
            _run("umount", mount)
        _run("ip", "netns", "del", self._namespace)

    def docker(self, *arguments: str, check: bool = True, buildkit: bool = True) -> str:
        """What the docker command prints; a failure of it fails the test, with its words."""
        done = subprocess.run(
            [self._client, "-H", self.host, *arguments],
            env=os.environ | {"DOCKER_BUILDKIT": f"{buildkit:d}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert not check or done.returncode == 0, f"docker {arguments[0]}: {done.stdout}"
        return done.stdout.strip()

    def inspect(self, name: str, template: str) -> str:
        return self.docker("inspect", "--format", template, name)

    def fetch(self, url: str, *options: str) -> str:
        """A curl from where the containers' network is; empty while nobody answers."""
        command = [*self._inside, "curl", "-s", "--max-time", "20", *options, url]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, and what it starts, where the containers' ports are published."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(f"/run/netns/{self._namespace}")
            try:
                yield
            finally:
                _enter(f"/proc/self/fd/{outside}")
        finally:
            os.close(outside)

    def containers(self) -> list[str]:
        """The names of all containers that there are."""
        return self.docker("ps", "--all", "--format", "{{.Names}}").split()

    def gateway(self) -> str:
        """The host's address as containers on the bridge see it."""
        command = [*self._inside, "ip", "-4", "addr", "show", "docker0"]
        shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        return str(re.findall(r"inet ([\d.]+)/", shown)[0])

    def import_python(self) -> None:
        """Make the image `python:3-slim`."""
        archive = self._folder / "python.tar"
        with tarfile.open(archive, "w") as tar:
            _pack_python(tar)
        self.docker(
            "import", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", str(archive), BASE
        )
        archive.unlink()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while "Server Version" not in self.docker("info", check=False):
            log = (self._folder / "log").read_text()[-2000:]
            assert self._process.poll() is None, f"dockerd ended: {log}"
            assert time.monotonic() < deadline, f"dockerd does not answer: {log}"
            time.sleep(0.1)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Engine]:
    engine = Engine(folder)
    engine.start()
    try:
        engine.import_python()
        yield engine
    finally:
        engine.stop()


OFFLINE = ["--network=none", "--build-arg=PIP_NO_INDEX=1", "--build-arg=PIP_FIND_LINKS=/context"]


def build_fob(engine: Engine, folder: Path) -> str:
    """fob's image, built from the tree and a folder of wheels, with no network; its name."""
    engine.docker("build", "--tag=fob", *OFFLINE, str(context(folder)))
    return "fob"


def context(context: Path) -> Path:
    """The folder, filled with what the Dockerfile needs to build without a network."""
    shutil.copytree(live.SERVICE, context / "service")
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(live.ROOT / name, context)
    requirements = live.SERVICE / "requirements.txt"
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    _run(*download, "-d", str(context / "wheels"), "-r", str(requirements))
    return context


def _pack_python(tar: tarfile.TarFile) -> None:
    """Put Python at /usr/local, and what it loads where it is loaded from."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    executable = os.path.realpath(sys._base_executable)  # type: ignore[attr-defined]
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix}))
    tar.add(executable, f"usr/local/bin/{version}")
    for name in ("python", "python3"):
        _link(tar, f"usr/local/bin/{name}", version)
    tar.add(library, f"usr/local/lib/{version}", filter=_only_needed)
    tar.add(Path(pip.__file__).parent, f"usr/local/lib/{version}/pip", filter=_only_needed)
    tools = {tool: os.path.realpath(str(shutil.which(tool))) for tool in TOOLS}
    for tool, path in tools.items():
        tar.add(path, f"bin/{tool}")
    loaded = [executable, *tools.values(), *map(str, (library / "lib-dynload").glob("*.so"))]
    for path in sorted({found for file in loaded for found in _libraries(file)}):
        tar.add(os.path.realpath(path), path.lstrip("/"))
    _folder(tar, "tmp", 0o1777)


def _only_needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    inside_pip = "/pip/" in member.name or member.name.endswith("/pip")
    return None if SKIPPED.search(member.name) and not inside_pip else member


def _libraries(file: str) -> list[str]:
    """The shared libraries a program or module loads, by the paths it loads them from."""
    listed = subprocess.run(["ldd", file], stdout=subprocess.PIPE, text=True).stdout
    return re.findall(r"(/\S+) \(0x", listed)


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)


def _folder(tar: tarfile.TarFile, name: str, mode: int) -> None:
    folder = tarfile.TarInfo(name)
    folder.type, folder.mode = tarfile.DIRTYPE, mode
    tar.addfile(folder, io.BytesIO())


def _mounts_under(folder: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [path for line in lines if (path := line.split()[1]).startswith(f"{folder}/")]


def _enter(network: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(network, os.O_RDONLY)
    try:
        if libc.setns(fd, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {network}")
    finally:
        os.close(fd)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
