"""The engine's side of a zygote: keep it running, and a few forked children ready."""

import asyncio
import logging
import os
import select
import signal
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fob import timeline
from fob.engine.runtime.launcher import (
    Exit,
    Launch,
    LaunchFailed,
    OnExit,
    RunningProcess,
)
from fob.engine.runtime.process_launcher import ProcessLauncher, WatchedProcess

log = logging.getLogger(__name__)

CONTROL_FD, PROGRAM_FD = "FOB_CONTROL_FD", "FOB_PROGRAM_FD"  # also in zygote.py, which runs alone
SPARES = 2  # children kept ready
REFILL_SECONDS = 0.02  # after one is used: the task that has just started needs the CPU first
FORK_TIMEOUT_SECONDS = 1.0  # to wait for a child when no spare is left, which takes milliseconds
BACKOFF_SECONDS = 0.1  # before a zygote that died is replaced; doubled each time
MAX_BACKOFF_SECONDS = 60.0
PROVEN_SECONDS = 60.0  # a zygote that lived as long resets the backoff


@dataclass(frozen=True)
class Spare:
    """A child that waits for its task on the other end of `channel`."""

    process: WatchedProcess
    channel: socket.socket


class Spares:
    """Spare children of one zygote.

    The zygote is replaced when it dies. Its children do not need it, so those that wait are kept.
    """

    def __init__(self, launch: Launch, program: bytes) -> None:
        """`launch` starts the zygote, except for its descriptors; `program` is the source that it
        loads."""
        self._launch = launch
        self._program = program
        self._spares: deque[Spare] = deque()
        self._zygote: WatchedProcess | None = None
        self._control: socket.socket | None = None
        self._requested = 0  # children not announced yet
        self._ready = False  # this zygote has announced a child
        self._started_at = 0.0
        self._backoff = BACKOFF_SECONDS
        self._loop = asyncio.get_running_loop()
        self._restart_timer: asyncio.TimerHandle | None = None
        self._start_zygote()

    def start(
        self, message: bytes, descriptors: Sequence[int], on_exit: OnExit
    ) -> RunningProcess | None:
        """Give a child the task `message` (see zygote.receive_task); None when there is no child.

        When no spare is left this blocks while one is forked, which takes less time than exec.
        """
        spare = self._take()
        if spare is None:
            return None
        spare.process.spawned = timeline.now("spawned")
        try:
            # the channel does not block: a message is queued whole, with its descriptors, or not
            socket.send_fds(spare.channel, [message], descriptors)
        except OSError as error:  # the child has just died, or the message is too large
            log.warning("Cannot send a task to a child of the zygote: %s", error)
            return None
        finally:
            spare.channel.close()  # a child that has received nothing sees the end, and exits
        # if the child has died since, its exit is reported after this turn of the loop, to on_exit
        spare.process.on_exit = on_exit
        self._loop.call_later(REFILL_SECONDS, self._refill)
        return spare.process

    async def close(self) -> None:
        """Kill the zygote and the spares; return when they are gone."""
        if self._restart_timer is not None:
            self._restart_timer.cancel()
        self._close_control()
        processes = [spare.process for spare in self._spares]
        if self._zygote is not None:
            processes.append(self._zygote)
        while self._spares:
            self._spares.popleft().channel.close()
        await asyncio.gather(*map(_kill, processes))

    # the zygote

    def _start_zygote(self) -> None:
        self._started_at = self._loop.time()
        try:
            self._zygote, self._control = self._launch_zygote()
        except (LaunchFailed, OSError) as error:
            self._restart_later(f"cannot be started: {error}")
            return
        self._loop.add_reader(self._control, self._receive)
        self._refill()

    def _launch_zygote(self) -> tuple[WatchedProcess, socket.socket]:
        """A new zygote, and the engine's end of its control socket."""
        with open(os.memfd_create("program"), "w+b") as program:
            program.write(self._program)
            program.seek(0)
            control, zygote_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            pass_fds = {CONTROL_FD: zygote_end.fileno(), PROGRAM_FD: program.fileno()}
            with zygote_end:
                launch = replace(self._launch, pass_fds=pass_fds)
                zygote = ProcessLauncher().start(launch, self._zygote_exited)
        control.setblocking(False)
        return zygote, control

    def _zygote_exited(self, ended: Exit) -> None:
        self._zygote = None
        self._close_control()
        self._restart_later(str(ended))

    def _restart_later(self, reason: str) -> None:
        if self._loop.time() - self._started_at > PROVEN_SECONDS:
            self._backoff = BACKOFF_SECONDS
        log.warning("The zygote %s; starting another in %g seconds", reason, self._backoff)
        self._restart_timer = self._loop.call_later(self._backoff, self._start_zygote)
        self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)

    def _kill_zygote(self, reason: str) -> None:
        log.warning("Killing the zygote: %s", reason)
        self._close_control()
        if self._zygote is not None:
            self._zygote.stop(signal.SIGKILL)

    def _close_control(self) -> None:
        self._ready, self._requested = False, 0
        if self._control is not None:
            self._loop.remove_reader(self._control)
            self._control.close()
            self._control = None

    # its children

    def _take(self) -> Spare | None:
        # a zygote that has just been started needs longer than exec does: do not wait for it
        if not self._spares and self._ready:
            self._refill()
            self._wait_for_child()
        return self._spares.popleft() if self._spares else None

    def _wait_for_child(self) -> None:
        if self._control is None:
            return
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        if poll.poll(FORK_TIMEOUT_SECONDS * 1000):
            self._receive()
        else:
            self._kill_zygote("it does not respond")

    def _refill(self) -> None:
        if self._control is None:
            return
        try:
            while len(self._spares) + self._requested < SPARES:
                self._control.send(b"+")
                self._requested += 1
        except OSError:  # the zygote has died; _zygote_exited is about to be called
            return

    def _receive(self) -> None:
        """Receive the announcement of a child: its pid, and our end of its channel."""
        if self._control is None:
            return
        try:
            pid, descriptors, _, _ = socket.recv_fds(self._control, 32, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            pid = b""
        if not pid:
            self._close_control()
            return
        if not self._ready:
            self._ready = True
            log.info("The zygote is ready")
        self._requested -= 1
        self._add(int(pid), socket.socket(fileno=descriptors[0]))

    def _add(self, pid: int, channel: socket.socket) -> None:
        # The pid cannot belong to another process: the child is the engine's own (CLONE_PARENT), so
        # even if it has died, it stays a zombie until the engine reaps it.
        channel.setblocking(False)
        spare = Spare(WatchedProcess(pid, lambda ended: self._spare_exited(spare, ended)), channel)
        self._spares.append(spare)

    def _spare_exited(self, spare: Spare, ended: Exit) -> None:
        if spare in self._spares:  # it does not exit by itself: something is wrong with its zygote
            self._spares.remove(spare)
            spare.channel.close()
            self._kill_zygote(f"a spare child {ended}")


async def _kill(process: WatchedProcess) -> None:
    """Kill `process`, which still runs; return when it is gone."""
    ended = asyncio.get_running_loop().create_future()
    process.on_exit = ended.set_result
    process.stop(signal.SIGKILL)
    await ended
