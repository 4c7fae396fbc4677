"""The zygote: a process that has a program loaded, and forks a child for each task that runs it.

It runs by itself and knows nothing of fob. spares.py is its other end: it starts the zygote, keeps
a few children in stock, and sends one of them a task.
"""

# How it works
# ------------
# Starting Python, importing modules and compiling a program takes tens of milliseconds, and gives
# each process its own copy of the result. A forked child skips the work and shares the memory.
#
# - The engine starts the zygote with the very command line of a task, so that a child has the right
#   interpreter, flags, sys.argv and /proc/<pid>/cmdline. FOB_PROGRAM_FD holds the source of the
#   program, FOB_CONTROL_FD one end of a SOCK_SEQPACKET socket pair. This source itself travels as a
#   variable of the environment (COMMAND), without the lines that are only a comment.
# - A message on the control socket asks for a child. The child leads a session of its own, and
#   announces itself there: its pid, and with SCM_RIGHTS one end of a new socket pair, its channel.
#   Then it does all that can be done before it knows its task, and blocks on the channel.
# - One message on the channel is the task: folder, environment, input of the program, and the
#   descriptors to have as 1, 2, 3 ... The child becomes that task and runs the rest of the program.
#
# SOCK_SEQPACKET keeps the boundaries of messages, so a task is received by one recvmsg(2) with its
# descriptors, and unlike SOCK_DGRAM it reports the end of the peer: recvmsg() returns nothing.
#
# Children are forked with CLONE_PARENT: their parent is the engine, not the zygote. The engine gets
# their exit status from waitid(2), as from any process that it started; the exit signal that the
# kernel sends it is the zygote's own, SIGCHLD. A task outlives the zygote.
#
# What can go wrong between these steps:
# - The engine dies. The kernel closes its ends of all sockets, also of a channel that is still on
#   its way in a control socket. The zygote and waiting children see that and exit; tasks run on.
# - The zygote dies. Children have their own copies of what they need; those that wait can still be
#   used. The engine starts another zygote.
# - A child dies before its task arrives. The engine's send fails, or the engine sees the exit.
# - A task is larger than the send buffer of the channel. The engine never sends more than
#   zygote_launcher.MAX_MESSAGE_BYTES, and executes the task instead; an error of sending has the
#   same effect. A child never receives a part of a task.
#
# Why one thread: fork(2) copies only the thread that calls it, and every lock that another thread
# holds stays locked in the child for ever.
#
# Why so much is done about memory: a child shares all pages with the zygote until either writes to
# one, which is then copied (copy-on-write), at some 4 us each. Python writes to an object whenever
# it counts a reference, so merely using an object copies its page. What was measured, launch to
# first response: rehearsals cut the pages copied after a task is known from 62 to 20 and the median
# from 2.28 to 1.84 ms; preparing before the task is known, and logging after the first response,
# cut it from 2.15 to 1.41 ms.

from __future__ import annotations

import ctypes
import gc
import json  # noqa: F401 - many functions import it; it stays out of the fresh pools (fill_gaps)
import marshal
import os
import selectors  # noqa: F401 - socket imports it, and children do not use it: out of the way too
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing typing costs each child 0.2 MB: it lies between objects all use
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

CONTROL_FD = "FOB_CONTROL_FD"
PROGRAM_FD = "FOB_PROGRAM_FD"
MAX_MESSAGE_BYTES = 1 << 20
ANCILLARY_BYTES = 2048  # Linux passes at most 253 descriptors with a message, of 4 bytes each
MAX_FD = 1024  # above every descriptor in use here
TYPICAL_VARIABLES = 40  # in the environment of a task
REHEARSALS = (
    8  # Python specializes code (PEP 659) that has run this often, and then leaves it alone
)
MAX_POOLED_BYTES = 512  # larger objects do not come from pymalloc's pools
POOL_BYTES = 16 * 1024 - 48  # in a pool of pymalloc, without its header; one size of object each
MAX_FILLERS = 4096  # per size of object
PARSE_ONLY = 0x400  # ast.PyCF_ONLY_AST


def fill_gaps() -> list[bytes]:
    """Fill the gaps in Python's pools, so that new objects lie side by side; return the fillers."""
    # Importing leaves free slots scattered over all pools. New objects would go there, between
    # objects that no child uses, and a child that uses a hundred of them would copy up to a hundred
    # pages. With the gaps filled, new objects are together on few pages. For each size, allocate
    # until the addresses are consecutive for a whole pool, so it is a fresh one, and free that.
    fillers = [b""] * MAX_POOLED_BYTES  # so long that the list itself is not in a pool
    for size in range(48, MAX_POOLED_BYTES + 1, 16):
        consecutive = before = 0
        most = len(fillers) + MAX_FILLERS
        while consecutive < POOL_BYTES // size - 2 and len(fillers) < most:
            fillers.append(bytes(size - sys.getsizeof(b"")))
            address = id(fillers[-1])
            consecutive = consecutive + 1 if address == before + size else 0
            before = address
        del fillers[len(fillers) - consecutive :]
    return fillers


FILLERS = fill_gaps()

import socket  # noqa: E402 - children use it: not before the gaps are filled
import threading  # noqa: E402

# System call numbers of clone(2), flags of it, and an operation of prctl(2)
CLONE_NUMBER = {"x86_64": 56, "aarch64": 220}
CLONE_PARENT, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x8000, 0x200000, 0x1000000
PR_GET_TID_ADDRESS = 40


class Program:
    """A Python file in two halves. What is above its `if __name__ == "__main__":` runs in the
    zygote, once; the body of that statement runs in a child. The file may define two functions:
    `rehearse`, and `prepare`, which a child calls before it knows its task."""

    def __init__(self, source: bytes) -> None:
        top, self._body, compiled = from_a_fork(lambda: compile_halves(source))
        self._names: dict[str, Any] = run_top(top, CachingCompiler(compiled))
        del self._names["compile"]  # in a child it is Python's own

    def rehearse(self) -> None:
        self._names.get("rehearse", int)()

    def prepare(self) -> None:
        self._names.get("prepare", int)()

    def run(self, snippet: bytes) -> None:
        """Run the second half, which finds its input in the global SNIPPET."""
        self._names["SNIPPET"] = snippet
        exec(self._body, self._names)


class CachingCompiler:
    """Like compile(), but returns the code object `compiled` before for the same source."""

    def __init__(self, compiled: dict[int, CodeType]) -> None:
        self.compiled = compiled

    def __call__(self, source: Any, file: str, mode: str, *flags: int, **options: Any) -> Any:
        if flags:
            return compile(source, file, mode, *flags, **options)
        key = hash((source, file))
        if key not in self.compiled:
            self.compiled[key] = compile(source, file, mode, **options)
        return self.compiled[key]


def compile_halves(source: bytes) -> tuple[CodeType, CodeType, dict[int, CodeType]]:
    """The two halves of a program, and all that it compiles while it rehearses."""
    tree: Any = compile(source, "runner.py", "exec", PARSE_ONLY, dont_inherit=True)
    guard = tree.body.pop()
    if type(guard).__name__ != "If":
        sys.exit("zygote: the program does not end in `if __name__ == ...`")
    top = compile(tree, "runner.py", "exec", dont_inherit=True)
    tree.body = guard.body
    body = compile(tree, "runner.py", "exec", dont_inherit=True)
    compiler = CachingCompiler({})
    run_top(top, compiler)
    return top, body, compiler.compiled


def run_top(top: CodeType, compiler: CachingCompiler) -> dict[str, Any]:
    """Run the first half of a program, and its `rehearse` if it has one; return its globals."""
    names: dict[str, Any] = {"__name__": "__main__", "compile": compiler}
    exec(top, names)
    names.get("rehearse", int)()
    return names


def from_a_fork(make: Callable[[], Any]) -> Any:
    """What `make` returns, made in a child process and sent back with marshal."""
    # The compiler leaves much memory behind that Python does not return to the system. It would be
    # in every child; so it goes with this one.
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


class SiblingForks:
    """fork(2) whose children are siblings of this process: children of its parent."""

    # os.fork() cannot pass CLONE_PARENT, so this makes the system call itself, and what the C
    # library and Python do around a fork:
    # - PyDLL keeps the interpreter's lock during the call. CDLL would release it, but the hook in
    #   the child expects that its thread holds it.
    # - Python's own hooks before and after a fork are functions of its C API.
    # - The C library's hooks (pthread_atfork) are not called. They release locks that other threads
    #   might hold, and there are none.
    # - The C library keeps the id of a thread in memory, at an address that it has given to the
    #   kernel (set_tid_address(2)). CLONE_CHILD_SETTID has the kernel write the child's id there;
    #   otherwise pthread_kill() of the main thread would use the zygote's. CLONE_CHILD_CLEARTID is
    #   what the C library's fork() passes as well.

    def __init__(self) -> None:
        self._libc = ctypes.PyDLL(None, use_errno=True)
        self._syscall = self._libc.syscall
        python = ctypes.pythonapi
        self._before = python.PyOS_BeforeFork
        self._in_parent, self._in_child = python.PyOS_AfterFork_Parent, python.PyOS_AfterFork_Child
        number = CLONE_NUMBER[os.uname().machine]
        flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
        tid = self._tid_address()
        # clone(flags, stack, parent_tid, child_tid, tls): machines disagree on the order of the
        # last two, of which only child_tid is used, so the address is passed as both
        self._arguments = [ctypes.c_long(value) for value in (number, flags, 0, 0, tid, tid)]

    def _tid_address(self) -> int:
        """Where the C library keeps the id of the main thread."""
        address = ctypes.c_void_p()
        if self._libc.prctl(PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) or not address:
            raise OSError(ctypes.get_errno(), "this kernel does not support PR_GET_TID_ADDRESS")
        return address.value or 0

    def fork(self) -> int:
        """Fork; return as os.fork() does."""
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
    """The environment in /proc/<pid>/environ, by which an engine finds a task after a crash."""

    # The file shows the memory between two addresses, where the kernel put the environment at
    # exec(2); a later setenv() does not change it, and a forked child shows its zygote's. That
    # memory is free: os.environ has been cleared, and new variables are stored elsewhere. It has
    # room, since the zygote got its own source there. So write the task's variables into it.

    def __init__(self) -> None:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the first is number 3 of proc(5)
        self._start, end = int(fields[47]), int(fields[48])  # env_start and env_end
        self._size = end - self._start

    def show(self, block: bytes) -> None:
        """Show the variables of `block`, as many as there is room for, and nothing else."""
        shown = block[: self._size - 1].ljust(self._size, b"\0")
        ctypes.memmove(self._start, shown, self._size)


def main() -> None:
    control = socket.socket(fileno=int(os.environ[CONTROL_FD]))
    with open(int(os.environ[PROGRAM_FD]), "rb") as file:
        program = Program(file.read())
    os.environ.clear()
    forks, shown = SiblingForks(), ShownEnvironment()
    for _ in range(REHEARSALS):
        rehearse(program, shown)
    # A collection writes to the header of every object that it looks at, and so would copy every
    # page. freeze() takes all objects made so far out of its sight, for good, also in children.
    gc.collect()
    gc.disable()
    gc.freeze()
    while control.recv(1):  # nothing: the engine has gone
        if forks.fork() == 0:
            channel = announce(control)
            rehearse(program, shown)
            program.prepare()
            snippet = receive_task(channel, shown)
            gc.enable()
            program.run(snippet)
            return


def rehearse(program: Program, shown: ShownEnvironment) -> None:
    """Do what a child does from the message on, with a task of no effect."""
    # In the zygote: so that the memory that this needs is there and shared, and Python has
    # specialized the code, which it does by writing into it. In a child: so that the pages that
    # will be written to are copied while it waits, not after its task has arrived.
    engine_end, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    names = [b"REHEARSAL_%d" % number for number in range(TYPICAL_VARIABLES)]
    start = [os.getcwdb(), *(name + b"=as long as a variable is on average" for name in names)]
    socket.send_fds(engine_end, [b"\0".join(start)], [engine_end.fileno()])
    message, fds = receive(channel)
    for fd in fds:
        os.dup2(fd, fd)
    os.closerange(MAX_FD, MAX_FD)
    enter(message, shown)
    program.rehearse()
    os.environ.clear()
    shown.show(b"")
    for fd in (engine_end.detach(), channel.detach(), *fds):
        os.close(fd)


def announce(control: socket.socket) -> socket.socket:
    """Lead a session and tell the engine the pid; return this end of the channel it now has."""
    # A session of its own: the engine signals the whole group of a task, and looks only at session
    # leaders when it searches for one.
    os.setsid()
    channel, engine_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    socket.send_fds(control, [b"%d" % os.getpid()], [engine_end.fileno()])
    # both must be closed here: the end of the channel is how a child learns that it is not needed,
    # and the end of the control socket how the engine learns that the zygote has died
    engine_end.close()
    control.close()
    return channel


def receive_task(channel: socket.socket, shown: ShownEnvironment) -> bytes:
    """Wait for the task, take its descriptors, folder and environment; return its input.

    The message is the folder and the variables, each ended by NUL, another NUL, and the input. The
    descriptors that come with it become 1, 2, 3 ...
    """
    message, fds = receive(channel)
    if not message:  # the engine has closed the channel, or died
        os._exit(0)
    # The kernel gave each the lowest free number in turn, and 0 to 2 were in use: the number of
    # each is above the one it is to have, so dup2() overwrites none that is still needed. It also
    # makes them inheritable, as those of an executed task are.
    for number, fd in enumerate(fds, 1):
        os.dup2(fd, number)
    channel.detach()  # closed below by its number
    os.closerange(len(fds) + 1, MAX_FD)
    start, _, snippet = message.partition(b"\0\0")
    enter(start, shown)
    return snippet


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """A message and the descriptors with it; empty when the peer has closed."""
    message, ancillary, _, _ = channel.recvmsg(MAX_MESSAGE_BYTES, ANCILLARY_BYTES)
    return message, [fd for _, _, data in ancillary for fd in memoryview(data).cast("i")]


def enter(start: bytes, shown: ShownEnvironment) -> None:
    """Take the folder and the variables of `start`, each ended by NUL."""
    folder, _, block = start.partition(b"\0")
    os.chdir(folder)
    block += b"\0PWD=" + os.getcwdb()  # set by the shell of an executed task
    shown.show(block)
    set_variables(block)
    if b"TZ" in os.environb:
        time.tzset()


def set_variables(block: bytes) -> None:
    """Add the variables of `block`, each ended by NUL, to an empty environment."""
    known: Any = os.environb
    for variable in block.split(b"\0"):
        name, _, value = variable.partition(b"=")
        os.putenv(name, value)
        known._data[name] = value  # what os.environb[name] = value does after four checks of each


if __name__ == "__main__":
    main()
