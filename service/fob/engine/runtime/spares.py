"""The engine's side of a zygote: keeps one running, and a few children ready."""

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

SPARES = 2  # children kept ready
REFILL_SECONDS = 0.02  # after one is taken: what has just started goes first
PATIENCE_SECONDS = 1.0  # to wait for a child when no spare is left, which takes milliseconds
BACKOFF_SECONDS = 0.1  # before a zygote that died is replaced; twice as long each time
MAX_BACKOFF_SECONDS = 60.0
PROVEN_SECONDS = 60.0  # one that lived as long is replaced as if it were the first to die


@dataclass(frozen=True)
class Spare:
    """A child that waits to be told, over `channel`, what to be."""

    process: WatchedProcess
    channel: socket.socket


class Spares:
    """Children of one zygote. A zygote that dies is replaced; its children are good as they are."""

    def __init__(self, launch: Launch, program: bytes) -> None:
        """`launch` starts the zygote, and lacks only its descriptors; `program` is its source."""
        self._launch = launch
        self._program = program
        self._spares: deque[Spare] = deque()
        self._zygote: WatchedProcess | None = None
        self._control: socket.socket | None = None
        self._coming = 0  # children asked for
        self._up = False  # one has come
        self._since = 0.0
        self._backoff = BACKOFF_SECONDS
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None  # to start another zygote
        self._begin()

    def start(
        self, message: bytes, descriptors: Sequence[int], on_exit: OnExit
    ) -> RunningProcess | None:
        """A child that has been told `message` (see zygote.become); None when none can be had now.

        When no spare is left it blocks while one is forked, which takes less than executing does.
        """
        spare = self._take()
        if spare is None:
            return None
        spare.process.spawned = timeline.now("spawned")
        try:
            socket.send_fds(spare.channel, [message], descriptors)
        except OSError as error:  # it has just died, or the message is too large
            log.warning("A child of the zygote cannot be told its task: %s", error)
            return None
        finally:
            spare.channel.close()  # one that has been told nothing ends
        spare.process.on_exit = on_exit
        self._loop.call_later(REFILL_SECONDS, self._refill)
        return spare.process

    async def close(self) -> None:
        """End the zygote and the spares; return when they are gone."""
        if self._timer is not None:
            self._timer.cancel()
        self._hang_up()
        processes = [spare.process for spare in self._spares]
        if self._zygote is not None:
            processes.append(self._zygote)
        while self._spares:
            self._spares.popleft().channel.close()
        await asyncio.gather(*map(_killed, processes))

    # the zygote

    def _begin(self) -> None:
        self._since = self._loop.time()
        try:
            self._zygote, self._control = self._launched()
        except (LaunchFailed, OSError) as error:
            self._begin_later(f"cannot be started: {error}")
            return
        self._loop.add_reader(self._control, self._receive)
        self._refill()

    def _launched(self) -> tuple[WatchedProcess, socket.socket]:
        """A new zygote, and our end of its control socket."""
        with open(os.memfd_create("program"), "w+b") as program:
            program.write(self._program)
            program.seek(0)
            control, its_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            passed = {"FOB_CONTROL_FD": its_end.fileno(), "FOB_PROGRAM_FD": program.fileno()}
            with its_end:
                zygote = ProcessLauncher().start(replace(self._launch, pass_fds=passed), self._died)
        control.setblocking(False)
        return zygote, control

    def _died(self, ended: Exit) -> None:
        self._zygote = None
        self._hang_up()
        self._begin_later(str(ended))

    def _begin_later(self, reason: str) -> None:
        if self._loop.time() - self._since > PROVEN_SECONDS:
            self._backoff = BACKOFF_SECONDS
        log.warning("The zygote %s; another comes in %g seconds", reason, self._backoff)
        self._timer = self._loop.call_later(self._backoff, self._begin)
        self._backoff = min(2 * self._backoff, MAX_BACKOFF_SECONDS)

    def _give_up(self, reason: str) -> None:
        """End a zygote that is no good."""
        log.warning("The zygote is ended: %s", reason)
        self._hang_up()
        if self._zygote is not None:
            self._zygote.stop(signal.SIGKILL)

    def _hang_up(self) -> None:
        self._up, self._coming = False, 0
        if self._control is not None:
            self._loop.remove_reader(self._control)
            self._control.close()
            self._control = None

    # its children

    def _take(self) -> Spare | None:
        if not self._spares and self._up:
            self._refill()
            self._wait()
        return self._spares.popleft() if self._spares else None

    def _wait(self) -> None:
        if self._control is None:
            return
        coming = select.poll()
        coming.register(self._control, select.POLLIN)
        if coming.poll(PATIENCE_SECONDS * 1000):
            self._receive()
        else:
            self._give_up("it does not answer")

    def _refill(self) -> None:
        if self._control is None:
            return
        try:
            while len(self._spares) + self._coming < SPARES:
                self._control.send(b"+")
                self._coming += 1
        except OSError:  # it is about to be seen that it died
            return

    def _receive(self) -> None:
        """Take a child that announces itself."""
        if self._control is None:
            return
        try:
            pid, descriptors, _, _ = socket.recv_fds(self._control, 32, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            pid = b""
        if not pid:
            self._hang_up()
            return
        if not self._up:
            self._up = True
            log.info("The zygote is ready")
        self._coming -= 1
        self._add(int(pid), socket.socket(fileno=descriptors[0]))

    def _add(self, pid: int, channel: socket.socket) -> None:
        channel.setblocking(False)
        spare = Spare(WatchedProcess(pid, lambda ended: self._lost(spare, ended)), channel)
        self._spares.append(spare)

    def _lost(self, spare: Spare, ended: Exit) -> None:
        if spare in self._spares:
            self._spares.remove(spare)
            spare.channel.close()
            self._give_up(f"a child that waited {ended}")


async def _killed(process: WatchedProcess) -> None:
    """Return when `process`, which still runs, is gone."""
    ended = asyncio.get_running_loop().create_future()
    process.on_exit = ended.set_result
    process.stop(signal.SIGKILL)
    await ended
