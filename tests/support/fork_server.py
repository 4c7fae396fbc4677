"""Start fob's Python programs by forking a process that has already imported fob.

Starting and stopping an engine costs 0.26 s of CPU when executed and 0.03 s when forked, a
dispatcher with its engine 0.8 s and 0.2 s, and the suite starts hundreds of each.

`popen` takes arguments of `subprocess.Popen` and returns an object with its interface. A forked
program has its own session, descriptors, environment, working directory and exit status. Only the
interpreter's start and its finalization are missing, so tests about start-up use real processes
(marker `executed`).

    python fork_server.py LISTENING_DESCRIPTOR      the server, started by the first `popen`

Each program has one connection: the client sends arguments as JSON together with descriptors, and
receives the pid, then the exit status. The server exits when the process that started it does.
"""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

MAX_MESSAGE_BYTES = 128 * 1024
MAX_DESCRIPTORS = 16
# room for a program's environment in the server's own environment block (see _show_environment)
PADDING = {"FORK_SERVER_PADDING": "x" * 4096}
DISPATCHER = "fob_dispatcher.py"
ENGINE = ["-m", "fob.engine"]


class Forked:
    """A forked program, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, connection: socket.socket, pid: int, stderr: IO[str] | None) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._connection = connection
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        with self._lock:
            if self.returncode is None:
                self.returncode = self._receive_status(timeout)
            return self.returncode

    def _receive_status(self, timeout: float | None) -> int:
        self._connection.settimeout(timeout)
        try:
            status = self._connection.recv(64)
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0) from None
        self._connection.close()
        assert status, "the fork server has ended"
        return os.waitstatus_to_exitcode(int(status))

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def popen(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | Path,
    stdin: int,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | int | None = None,
    pass_fds: Sequence[int] = (),
    start_new_session: bool = False,
    text: bool = False,
) -> Forked:
    """Start `python` with the arguments `command[1:]` by forking the server of this process."""
    assert stdin == subprocess.DEVNULL
    reading = None
    writing: IO[bytes] | int | None = stderr
    if stderr == subprocess.PIPE:
        assert text
        ours, theirs = os.pipe()
        reading, writing = os.fdopen(ours), os.fdopen(theirs, "wb")
    start = {
        "arguments": list(command[1:]),
        "environment": dict(env),
        "folder": str(cwd),
        "session": start_new_session,
        "passed": list(pass_fds),
    }
    standard = [_number(stdout, 1), _number(writing, 2)]
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        connection.connect(_address())
        socket.send_fds(connection, [json.dumps(start).encode()], [*standard, *pass_fds])
        pid = int(connection.recv(64))
    except BaseException:
        connection.close()
        raise
    finally:
        if writing is not stderr:
            writing.close()  # type: ignore[union-attr]
    return Forked(connection, pid, reading)


def _number(stream: IO[bytes] | int | None, default: int) -> int:
    if stream is None:
        return default
    return stream if isinstance(stream, int) else stream.fileno()


pid = 0  # of this process's server, once it has one
_inherited = b""  # in a forked program: the address of the server that forked it


def _address() -> bytes:
    return _inherited or _start_server()


@functools.cache
def _start_server() -> bytes:
    """Start the server of this process, and keep its address only: no test sees a descriptor."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind("")  # the kernel picks a free name in the abstract namespace
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno())],
            env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")} | PADDING,
            stdin=subprocess.DEVNULL,
            pass_fds=(listener.fileno(),),
        )
        atexit.register(_end, server)
        global pid
        pid = server.pid
        address: bytes = listener.getsockname()
        return address


def _end(server: "subprocess.Popen[bytes]") -> None:
    server.kill()
    server.wait()


class Server:
    """Forks one program per connection, and reports how it ended."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        parent = os.pidfd_open(os.getppid())
        self._selector.register(parent, selectors.EVENT_READ, functools.partial(os._exit, 0))

    def serve(self) -> NoReturn:
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        message, descriptors, _, _ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, MAX_DESCRIPTORS)
        if not message:
            connection.close()
            return
        pid = os.fork()
        if pid == 0:
            _become(json.loads(message), descriptors, self._listener)
        for descriptor in descriptors:
            os.close(descriptor)
        _send(connection, pid)
        pidfd = os.pidfd_open(pid)
        ended = functools.partial(self._ended, pid, pidfd, connection)
        self._selector.register(pidfd, selectors.EVENT_READ, ended)

    def _ended(self, pid: int, pidfd: int, connection: socket.socket) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _send(connection, os.waitpid(pid, 0)[1])
        connection.close()


def _send(connection: socket.socket, number: int) -> None:
    try:
        connection.send(str(number).encode())
    except OSError:  # the client has ended, or does not want to know
        return


def _become(start: dict[str, Any], descriptors: list[int], listener: socket.socket) -> NoReturn:
    """Turn this forked process into the program, and run it."""
    status = 1
    try:
        _inherit(listener)
        _arrange(descriptors, [1, 2, *start["passed"]])
        if start["session"]:
            os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(start["folder"])
        os.environ.clear()
        os.environ.update(start["environment"])
        _show_environment(start["environment"])
        status = _run(start["arguments"])
    except BaseException:  # noqa: BLE001 - the process ends here
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _inherit(listener: socket.socket) -> None:
    global _inherited
    _inherited = listener.getsockname()


def _arrange(descriptors: list[int], numbers: list[int]) -> None:
    """Give the received descriptors their numbers, standard input apart, and close all others."""
    highest = max(numbers) + 1
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, highest) for fd in descriptors]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for fd, number in zip(moved, numbers, strict=True):
        os.dup2(fd, number)
    kept = sorted({0, *numbers})
    for low, high in zip(kept, [*kept[1:], 65536], strict=True):
        os.closerange(low + 1, high)


def _show_environment(environment: dict[str, str]) -> None:
    """Show it in /proc/self/environ, where the leak check finds out whose test a process is.

    The kernel shows the memory that held the environment when the program was executed. This is the
    server's, which every child may overwrite in its own copy.
    """
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[47]), int(fields[48])
    block = b"".join(os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items())
    size = end - begin
    ctypes.memmove(begin, block[: size - 1].ljust(size, b"\0"), size)


def _run(arguments: list[str]) -> int:
    """Run a program as `python` with these arguments does; its exit status."""
    program: Callable[[], Any]
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        program = functools.partial(runpy.run_module, arguments[1], None, "__main__", True)
    else:
        sys.argv = arguments
        program = functools.partial(runpy.run_path, arguments[0], None, "__main__")
    if arguments[0] == DISPATCHER:
        _fork_its_engines()
    try:
        program()
    except SystemExit as end:
        return _status(end)
    finally:
        threading._shutdown()  # type: ignore[attr-defined]  # as at the end of every program
        atexit._run_exitfuncs()
    return 0


def _status(end: SystemExit) -> int:
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)
        return 1
    return end.code or 0


def _fork_its_engines() -> None:
    """Let the engines that a forked dispatcher starts come from the same server."""
    executed = subprocess.Popen

    def start(command: Any, **options: Any) -> Any:
        if isinstance(command, list) and command[1:3] == ENGINE:
            return popen(command, **options)
        return executed(command, **options)

    subprocess.Popen = start  # type: ignore[assignment, misc]


def main() -> NoReturn:
    """Import what the programs import, then serve."""
    sys.path[0] = str(Path(__file__).parents[2] / "service")
    import fob.dispatcher.assembly
    import fob.dispatcher.main
    import fob.engine.main  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest
    gc.freeze()  # children share these pages: no collection of theirs writes to them
    Server(socket.socket(fileno=int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
