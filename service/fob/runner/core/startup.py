"""From an environment to a server: settings, descriptors, packages, and the snippet."""

from __future__ import annotations

import _socket as socket
import os
import sys

from fob.contract import (
    BAD_IMPORT,
    BAD_START,
    CONCURRENCY,
    CORS,
    ENTRY,
    IDLE_FD,
    IMPORTED,
    KEEP_ALIVE,
    KEPT_FD,
    LISTEN_FD,
    NOTIFY_FD,
    REQUIREMENTS,
    RUNNER_UP,
    SITE_PACKAGES,
    TIMEOUT,
)
from fob.runner.core.errors import CannotStart
from fob.runner.core.failures import import_hint, trace
from fob.runner.core.feature import feature
from fob.runner.core.function import Function
from fob.runner.core.marks import Marks
from fob.runner.core.output import log
from fob.runner.core.server import Server
from fob.runner.core.snippet import Snippet

ARCHIVE_MAGIC = b"PK\3\4"
USAGE = """no snippet to serve, or no port to serve it on. By hand:
  PORT0=8080 FOB_SNIPPET="$(cat f.py)" python3 -I -S service/fob/runner"""


def number(name: str, default: float, least: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not value >= least:  # NaN is not either
        raise CannotStart(BAD_START, f"{name}={text!r} is not a number of at least {least:g}")
    return value


def inherited_fd(name: str) -> int | None:
    """Take a descriptor from the environment; neither the snippet nor its children see it."""
    text = os.environ.pop(name, "")
    try:
        if text:
            os.set_inheritable(int(text), False)
        return int(text) if text else None
    except (ValueError, OSError, OverflowError):
        raise CannotStart(BAD_START, f"{name}={text!r} is not an open file descriptor") from None


def kept_fds() -> list[int]:
    """Take the connections that were open when the function last went idle."""
    names = [name for name in os.environ if name.startswith(KEPT_FD)]
    return [fd for fd in map(inherited_fd, names) if fd is not None]


def listen(fd: int | None) -> socket.socket:
    """Return the inherited listening socket, or one bound to PORT0."""
    port = 0 if fd is not None else int(number("PORT0", 0, 0))
    host = "0.0.0.0" if "MESOS_TASK_ID" in os.environ else "127.0.0.1"
    try:
        if fd is not None:
            return socket.socket(fileno=fd)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
        return listener
    except (OSError, OverflowError) as error:
        raise CannotStart(BAD_START, f"cannot listen on {fd or port}: {error}") from None


def installed() -> str:
    """The folder of the packages that the snippet needs, installed by now; "" if it needs none."""
    if SITE_PACKAGES in os.environ or REQUIREMENTS not in os.environ:
        return os.environ.get(SITE_PACKAGES, "")
    try:
        return str(feature("packages").install(os.environ))
    except (RuntimeError, OSError) as error:
        raise CannotStart(BAD_IMPORT, f"the snippet cannot be imported: {error}") from None


def add_packages(folder: str) -> None:
    """Let the snippet import the packages in `folder`, after the standard library."""
    if any(name.endswith(".pth") for name in os.listdir(folder)):
        import site  # 3 ms, and only needed for such files

        site.addsitedir(folder)
    else:
        sys.path.append(folder)


def load(source: bytes) -> Function:
    """Import the snippet, a file or a zip archive of several, and find the function in it."""
    try:
        entry = os.environ.get(ENTRY, "")
        if not source.startswith(ARCHIVE_MAGIC):
            return Function(Snippet(source), entry)
        Snippet.folder = feature("unzip").unpack(source, os.environ.get("MESOS_SANDBOX"))
        return Function(*feature("modules").load(Snippet.folder, entry))
    except CannotStart:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever importing the snippet may raise
        log(trace(error))
        message = f"the snippet cannot be imported: {type(error).__name__}{import_hint(error)}"
        raise CannotStart(BAD_IMPORT, message) from None


def make_server(snippet: bytes) -> Server | None:
    """Load the snippet and make its server; None in a child that the snippet has forked."""
    fd = inherited_fd(LISTEN_FD)
    marks = Marks(inherited_fd(NOTIFY_FD), os.environ.get("MESOS_SANDBOX"))
    marks.add(RUNNER_UP)
    engine = inherited_fd(IDLE_FD)
    kept = [] if engine is None else kept_fds()
    source = snippet or os.environb.pop(b"FOB_SNIPPET", b"")
    if not source or (fd is None and not os.environ.get("PORT0")):
        raise CannotStart(BAD_START, USAGE)
    timeout = number(TIMEOUT, 60, 0) or float("inf")
    max_calls = int(number(CONCURRENCY, 16, 1))
    keep_alive = number(KEEP_ALIVE, 60, 0)
    if packages := installed():
        add_packages(packages)
    if b"storage" in source or b"nosql" in source or source[:2] == b"PK":
        root = os.environ.get("FOB_STORAGE") or os.environ.get("MESOS_SANDBOX") or ""
        sys.meta_path.append(feature("sebs").Finder(root))
    pid = os.getpid()
    function = load(source)
    if origins := os.environ.get(CORS):
        function.cors = feature("cors").make(origins)
    if os.getpid() != pid:  # the snippet has forked, and its child has returned here
        return None
    # an inherited socket is listening already: this mark goes in one write with the next
    marks.add(IMPORTED, fd is not None)
    server = Server(listen(fd), function, timeout, max_calls, marks)
    for connection in kept:
        server.connections.add(socket.socket(fileno=connection))
    if engine is not None:
        task = os.environ.get("MESOS_TASK_ID", "")
        server.idle = feature("idle").Idle(server, engine, task, keep_alive)
    return server
