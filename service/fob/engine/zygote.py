"""The zygote: it holds a program loaded, and forks a child for each task that will run it.

Started by engine/spares.py with the very command line of such a task, so that a child has the right
interpreter, flags and arguments. The descriptor FOB_PROGRAM_FD is the program's source,
FOB_CONTROL_FD a SOCK_SEQPACKET socket to the engine: a message on it asks for a child, which
announces itself there with its pid and a socket of its own, over which it is told once what to be.
Who is not needed any more finds its socket closed, and ends.

A child is a sibling of the zygote's, hence the engine's own: it is waited for like any other
process the engine has started, and lives on when the zygote dies.
"""

from __future__ import annotations

import ctypes
import gc
import os
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

MESSAGE_LIMIT = 1 << 20  # bytes
FDS_LIMIT = 16  # handed down with one message
FD_LIMIT = 1024  # above every number in use here
VARIABLES = 40  # that a task has, about
PARSE_ONLY = 0x400  # ast.PyCF_ONLY_AST

# clone(2) and prctl(2); the last two arguments of clone have no order that all machines agree on
CLONE_NUMBER = {"x86_64": 56, "aarch64": 220}
CLONE_PARENT, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
PR_GET_TID_ADDRESS = 40


class Program:
    """A Python file in two halves: all that is above its `if __name__ == "__main__":`, which is run
    here, and what is below, for a child to run."""

    def __init__(self, source: bytes) -> None:
        tree: Any = compile(source, "runner.py", "exec", PARSE_ONLY, dont_inherit=True)
        guard = tree.body.pop()
        if type(guard).__name__ != "If":
            sys.exit("zygote: the program does not end in `if __name__ == ...`")
        self.names: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(tree, "runner.py", "exec", dont_inherit=True), self.names)
        tree.body = guard.body
        self.rest: CodeType = compile(tree, "runner.py", "exec", dont_inherit=True)


class Forks:
    """fork(2) whose children are the caller's siblings."""

    def __init__(self) -> None:
        self._libc = ctypes.PyDLL(None, use_errno=True)  # which keeps the interpreter's lock
        number = CLONE_NUMBER[os.uname().machine]
        flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
        tid = self._tid_address()
        self._arguments = [ctypes.c_long(value) for value in (number, flags, 0, 0, tid, tid)]

    def _tid_address(self) -> int:
        """Where the C library keeps the main thread's id: a child's is another."""
        address = ctypes.c_void_p()
        if self._libc.prctl(PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) or not address:
            raise OSError(ctypes.get_errno(), "this kernel does not tell PR_GET_TID_ADDRESS")
        return address.value or 0

    def fork(self) -> int:
        """As os.fork."""
        python = ctypes.pythonapi
        python.PyOS_BeforeFork()
        pid: int = self._libc.syscall(*self._arguments)
        if pid == 0:
            python.PyOS_AfterFork_Child()
            threading.current_thread()._set_native_id()  # type: ignore[attr-defined]
            return 0
        error = ctypes.get_errno()
        python.PyOS_AfterFork_Parent()
        if pid < 0:
            raise OSError(error, os.strerror(error))
        return pid


class ShownEnvironment:
    """What /proc/<pid>/environ shows, for those who look for a task by its variables: the memory
    of those that the zygote was started with, and has cleared."""

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        self._start, end = int(fields[47]), int(fields[48])  # env_start and env_end, from field 3
        self._room = end - self._start
        ctypes.memset(self._start, 0, self._room)

    def show(self, block: bytes) -> None:
        """Show the variables of `block`, or as many as there is room for."""
        ctypes.memmove(self._start, block, min(len(block), self._room - 1))


def main() -> None:
    control = socket.socket(fileno=int(os.environ["FOB_CONTROL_FD"]))
    with open(int(os.environ["FOB_PROGRAM_FD"]), "rb") as file:
        program = Program(file.read())
    os.environ.clear()
    forks, shown = Forks(), ShownEnvironment()
    rehearse(program)
    gc.collect()
    gc.disable()
    gc.freeze()
    while control.recv(1):
        if forks.fork() == 0:
            own = introduce(control)
            rehearse(program)
            program.names["SNIPPET"] = become(own, shown)
            gc.enable()
            exec(program.rest, program.names)
            return


def rehearse(program: Program) -> None:
    """Touch what will be needed: memory shared with the zygote is slow to write to, once."""
    program.names.get("rehearse", int)()  # it need not have one
    for number in range(VARIABLES):
        os.environb[b"REHEARSAL_%d" % number] = b"as long as a variable is on average"
    os.environ.clear()


def introduce(control: socket.socket) -> socket.socket:
    """Lead a session, and tell the engine so; our end of the socket it has now."""
    os.setsid()
    own, engines = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    socket.send_fds(control, [b"%d" % os.getpid()], [engines.fileno()])
    engines.close()
    control.close()
    return own


def become(own: socket.socket, shown: ShownEnvironment) -> bytes:
    """Wait for what to be, and be it; what the program is given.

    The message is the folder and the variables, each ended by NUL, another NUL, and what is given.
    The descriptors with it become 1, 2, 3 ...
    """
    message, fds, _, _ = socket.recv_fds(own, MESSAGE_LIMIT, FDS_LIMIT)
    if not message:
        os._exit(0)
    # each comes with a number above the one it gets, so none is overwritten that is still needed
    for number, fd in enumerate(fds, 1):
        os.dup2(fd, number)
    own.detach()
    os.closerange(len(fds) + 1, FD_LIMIT)
    told, _, given = message.partition(b"\0\0")
    folder, _, block = told.partition(b"\0")
    os.chdir(folder)
    block += b"\0PWD=" + os.getcwdb()  # as a shell does
    shown.show(block)
    for variable in block.split(b"\0"):
        name, _, value = variable.partition(b"=")
        os.environb[name] = value
    if b"TZ" in os.environb:
        time.tzset()
    return given


if __name__ == "__main__":
    main()
