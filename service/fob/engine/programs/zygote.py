"""The zygote: it holds a program loaded, and forks a child for each task that will run it.

Started by launchers/spares.py with the very command line of such a task, so that a child has the
right interpreter, flags and arguments. The descriptor FOB_PROGRAM_FD is the program's source,
FOB_CONTROL_FD a SOCK_SEQPACKET socket to the engine: a message on it asks for a child, which
announces itself there with its pid and a socket of its own, over which it is told once what to be.
Who is not needed any more finds its socket closed, and ends.

A child is a sibling of the zygote's, hence the engine's own: it is waited for like any other
process the engine has started, and lives on when the zygote dies.
"""

from __future__ import annotations

import ctypes
import gc
import json  # noqa: F401 - many functions want it, and it is out of the way here
import marshal
import os
import selectors  # noqa: F401 - socket wants it, and children do not use it
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs each child 0.2 MB, for it lies between what all of them use
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

MAX_MESSAGE_BYTES = 1 << 20  # bytes
FDS_SPACE = 2048  # bytes for the descriptors handed down with one message; Linux passes no more
MAX_FD = 1024  # above every number in use here
VARIABLES = 40  # that a task has, about
REHEARSALS = 8  # after which Python has done all it does to code that is run often
POOLED = 512  # bytes of the largest objects that Python keeps in pools, one for each size
POOL = 16 * 1024 - 48  # bytes of objects in a pool
FILLERS = 4096  # of one size at most
PARSE_ONLY = 0x400  # ast.PyCF_ONLY_AST


def fill_gaps() -> list[bytes]:
    """Objects in all the gaps that are left between others, so that what is made from now on lies
    side by side.

    A child gets a copy of every page with an object on it that it counts a reference to. So what
    all children use should be on few pages, with nothing else.
    """
    fillers = [b""] * POOLED  # enough for the list itself to be in no pool
    for size in range(48, POOLED + 1, 16):
        side_by_side = before = 0
        most = len(fillers) + FILLERS
        while side_by_side < POOL // size - 2 and len(fillers) < most:
            fillers.append(bytes(size - sys.getsizeof(b"")))
            address = id(fillers[-1])
            side_by_side = side_by_side + 1 if address == before + size else 0
            before = address
        del fillers[len(fillers) - side_by_side :]  # an empty pool
    return fillers


FILLED = fill_gaps()

import socket  # noqa: E402 - not before the gaps are filled
import threading  # noqa: E402

# clone(2) and prctl(2); the last two arguments of clone have no order that all machines agree on
CLONE_NUMBER = {"x86_64": 56, "aarch64": 220}
CLONE_PARENT, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
PR_GET_TID_ADDRESS = 40


class Program:
    """A Python file in two halves: all that is above its `if __name__ == "__main__":`, which is run
    here, and what is below, for a child to run. It may have a function `rehearse`, and `prepare`
    for a child to run before it is told what to be."""

    def __init__(self, source: bytes) -> None:
        top, self._rest, made = made_apart(lambda: compiled(source))
        self._names: dict[str, Any] = run_top(top, Compiler(made))
        del self._names["compile"]  # a child's is Python's own

    def rehearse(self) -> None:
        self._names.get("rehearse", int)()

    def prepare(self) -> None:
        self._names.get("prepare", int)()

    def go_on(self, given: bytes) -> None:
        """Run the second half, which finds what it is given in SNIPPET."""
        self._names["SNIPPET"] = given
        exec(self._rest, self._names)


class Compiler:
    """As compile(), but it keeps what it has `made`, and gives it again."""

    def __init__(self, made: dict[int, CodeType]) -> None:
        self.made = made

    def __call__(self, source: Any, file: str, mode: str, *flags: int, **more: Any) -> Any:
        if flags:
            return compile(source, file, mode, *flags, **more)
        key = hash((source, file))
        if key not in self.made:
            self.made[key] = compile(source, file, mode, **more)
        return self.made[key]


def compiled(source: bytes) -> tuple[CodeType, CodeType, dict[int, CodeType]]:
    """The halves of a program, and what it compiles when it rehearses."""
    tree: Any = compile(source, "runner.py", "exec", PARSE_ONLY, dont_inherit=True)
    guard = tree.body.pop()
    if type(guard).__name__ != "If":
        sys.exit("zygote: the program does not end in `if __name__ == ...`")
    top = compile(tree, "runner.py", "exec", dont_inherit=True)
    tree.body = guard.body
    rest = compile(tree, "runner.py", "exec", dont_inherit=True)
    compiler = Compiler({})
    run_top(top, compiler)
    return top, rest, compiler.made


def run_top(top: CodeType, compiler: Compiler) -> dict[str, Any]:
    """Run the first half of a program, and its `rehearse` if it has one; what it defines."""
    names: dict[str, Any] = {"__name__": "__main__", "compile": compiler}
    exec(top, names)
    names.get("rehearse", int)()
    return names


def made_apart(make: Callable[[], Any]) -> Any:
    """What `make` returns, from a process of its own, which keeps the memory that this took."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open(writer, "wb") as file:
            marshal.dump(make(), file)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        made = marshal.load(file)
    os.waitpid(pid, 0)
    return made


class Forks:
    """fork(2) whose children are the caller's siblings."""

    def __init__(self) -> None:
        self._libc = ctypes.PyDLL(None, use_errno=True)  # which keeps the interpreter's lock
        self._syscall = self._libc.syscall
        python = ctypes.pythonapi
        self._before = python.PyOS_BeforeFork
        self._in_parent, self._in_child = python.PyOS_AfterFork_Parent, python.PyOS_AfterFork_Child
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
        self._before()
        pid: int = self._syscall(*self._arguments)
        if pid == 0:
            self._in_child()
            threading.current_thread()._set_native_id()  # type: ignore[attr-defined]
            return 0
        error = ctypes.get_errno()
        self._in_parent()
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

    def show(self, block: bytes) -> None:
        """Show the variables of `block`, or as many as there is room for, and nothing else."""
        shown = block[: self._room - 1].ljust(self._room, b"\0")
        ctypes.memmove(self._start, shown, self._room)


def main() -> None:
    control = socket.socket(fileno=int(os.environ["FOB_CONTROL_FD"]))
    with open(int(os.environ["FOB_PROGRAM_FD"]), "rb") as file:
        program = Program(file.read())
    os.environ.clear()
    forks, shown = Forks(), ShownEnvironment()
    for _ in range(REHEARSALS):
        rehearse(program, shown)
    gc.collect()
    gc.disable()
    gc.freeze()
    while control.recv(1):
        if forks.fork() == 0:
            own = introduce(control)
            rehearse(program, shown)
            program.prepare()
            given = become(own, shown)
            gc.enable()
            program.go_on(given)
            return


def rehearse(program: Program, shown: ShownEnvironment) -> None:
    """Do what a child does that is told what to be, and so touch what that needs: memory shared
    with the zygote is slow to write to, once."""
    engines, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    names = [b"REHEARSAL_%d" % number for number in range(VARIABLES)]
    told = [os.getcwdb(), *(name + b"=as long as a variable is on average" for name in names)]
    socket.send_fds(engines, [b"\0".join(told)], [engines.fileno()])
    message, fds = received(own)
    for fd in fds:
        os.dup2(fd, fd)
    os.closerange(MAX_FD, MAX_FD)
    be(message, shown)
    program.rehearse()
    os.environ.clear()
    shown.show(b"")
    for fd in (engines.detach(), own.detach(), *fds):
        os.close(fd)


def set_variables(block: bytes) -> None:
    """Add these variables, each ended by NUL, to an environment that has none of them."""
    known: Any = os.environb
    for variable in block.split(b"\0"):
        name, _, value = variable.partition(b"=")
        os.putenv(name, value)
        known._data[name] = value  # as os.environb does, which checks each four times


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
    message, fds = received(own)
    if not message:
        os._exit(0)
    # each comes with a number above the one it gets, so none is overwritten that is still needed
    for number, fd in enumerate(fds, 1):
        os.dup2(fd, number)
    own.detach()
    os.closerange(len(fds) + 1, MAX_FD)
    told, _, given = message.partition(b"\0\0")
    be(told, shown)
    return given


def received(own: socket.socket) -> tuple[bytes, list[int]]:
    """A message, and the descriptors with it; empty when nobody is there who could send one."""
    message, ancillary, _, _ = own.recvmsg(MAX_MESSAGE_BYTES, FDS_SPACE)
    return message, [fd for _, _, data in ancillary for fd in memoryview(data).cast("i")]


def be(told: bytes, shown: ShownEnvironment) -> None:
    """Have the folder and the variables that are told, each ended by NUL."""
    folder, _, block = told.partition(b"\0")
    os.chdir(folder)
    block += b"\0PWD=" + os.getcwdb()  # as a shell does
    shown.show(block)
    set_variables(block)
    if b"TZ" in os.environb:
        time.tzset()


if __name__ == "__main__":
    main()
