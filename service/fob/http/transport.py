"""TCP connections, all in one epoll that the loop watches as if it were a file.

They behave as asyncio's transports do, which call by call would cost more than the call itself: a
handle, a context and a turn of the loop for each thing that happens.
"""

import asyncio
import contextlib
import errno
import logging
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
# what one takes who does not take it at once; then its protocol is told to wait, until a quarter
UNSENT_BYTES = 64 * 1024
EVENTS = 64  # served at once
# before the loop looks after others again; while calls come and go, waiting for the next one here
# saves a turn of the loop for each, and a wait is no longer than a millisecond
TURN_SECONDS = 0.002
WAIT_SECONDS = 0.001
BACKLOG = 1024
# while there is no descriptor left for another connection, they wait where they are
PAUSE_SECONDS = 1.0

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Ready(Protocol):
    """What can wait in the epoll."""

    def ready(self, events: int) -> None:
        """Some of what was waited for has come, or looks as if it had. Raises nothing."""


class StreamProtocol(Protocol):
    """Whoever talks on a connection, called from the event loop: asyncio's Protocol."""

    def connection_made(self, wire: "Transport") -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def connection_lost(self, error: OSError | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Transports:
    """The epoll, in the loop that runs; `close` it when all that waits in it is closed."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, Ready] = {}
        self._more = 0
        # while it serves: those that have something to send, which is sent when all that came is
        # seen to; several sends in a row cost less, for who reads them is awake after the first
        self.writing: list[Transport] | None = None
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self._epoll.fileno(), self._serve)

    def wait(self, fd: int, who: Ready, events: int) -> None:
        """Call `who` when one of the events comes, or the other side is gone."""
        if fd in self._waiting:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
            self._waiting[fd] = who

    def forget(self, fd: int) -> None:
        """Wait no longer; nothing happens if nobody did."""
        if self._waiting.pop(fd, None):
            self._epoll.unregister(fd)

    def expect(self) -> None:
        """More is about to come, and what was served just now leaves the loop nothing to do."""
        self._more += 1

    def close(self) -> None:
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _serve(self) -> None:
        end = time.monotonic() + TURN_SECONDS
        wait = 0.0
        while found := self._epoll.poll(wait, EVENTS):
            self._more = 0
            writing: list[Transport] = []
            self.writing = writing
            for fd, events in found:
                # one that was served just now may have closed another
                if who := self._waiting.get(fd):
                    who.ready(events)
            self.writing = None
            for wire in writing:
                wire.push()
            if time.monotonic() > end:
                return
            wait = WAIT_SECONDS if self._more == len(found) else 0.0


class ListeningSocket:
    """Takes what connects to a bound socket, and lets `talk` make who talks to it."""

    def __init__(
        self, wires: Transports, sock: socket.socket, talk: Callable[[], StreamProtocol]
    ) -> None:
        self._wires = wires
        self._sock = sock
        self._talk = talk
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.listen(BACKLOG)
        wires.wait(sock.fileno(), self, _IN)

    def ready(self, _: int) -> None:
        for _ in range(EVENTS):
            try:
                sock, (ip, *_) = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._wait(error)
                return
            try:
                Transport(self._wires, sock, self._talk(), ip)
            except Exception:
                log.exception("A connection broke")
                self._wires.forget(sock.fileno())
                sock.close()

    def _wait(self, error: OSError) -> None:
        log.warning("No more connections for the moment: %s", error.strerror)
        self._wires.forget(self._sock.fileno())
        loop = asyncio.get_running_loop()
        self._pause = loop.call_later(
            PAUSE_SECONDS, self._wires.wait, self._sock.fileno(), self, _IN
        )

    def close(self) -> None:
        if self._pause:
            self._pause.cancel()
        self._wires.forget(self._sock.fileno())
        self._sock.close()


class Transport:
    """One connection, and what is still to be sent on it."""

    __slots__ = (
        "_closing",
        "_ended",
        "_fd",
        "_finishing",
        "_held",
        "_held_up",
        "_reading",
        "_sock",
        "_talk",
        "_unsent",
        "_wires",
        "peer_ip",
    )

    def __init__(
        self, wires: Transports, sock: socket.socket, talk: StreamProtocol, peer_ip: str = ""
    ) -> None:
        self.peer_ip = peer_ip
        self._wires = wires
        self._sock = sock
        self._talk = talk
        self._fd = sock.fileno()
        self._held = b""
        self._unsent = bytearray()
        self._reading = True
        self._ended = False
        self._held_up = False
        self._finishing = False
        self._closing = False
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wires.wait(self._fd, self, _IN)
        talk.connection_made(self)

    # the protocol's side

    def write(self, data: bytes) -> None:
        """Send it, in a moment or as soon as the other side takes it."""
        if self._closing:
            return
        if self._held:
            self._held += data
        else:
            self._held = data
            if self._wires.writing is None:
                self.push()
            else:
                self._wires.writing.append(self)

    def push(self) -> None:
        """Send what was written, now if the other side takes it."""
        data, self._held = self._held, b""
        if not data:
            return
        sent = 0
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._end(error)
                return
            if sent == len(data):
                return
        self._unsent += data[sent:]
        self._wait()
        if not self._held_up and len(self._unsent) > UNSENT_BYTES:
            self._held_up = True
            self._talk.pause_writing()

    def write_eof(self) -> None:
        """Send nothing more after what was written."""
        self.push()
        self._finishing = True
        if not self._unsent:
            self._finish()

    def pause_reading(self) -> None:
        # `ready` finds out: mostly nothing comes before it goes on
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            if not self._closing:
                self._wait()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close once all is sent, and read nothing more."""
        if not self._closing:
            self.push()
            self._closing = True
            self._wait()
            if not self._unsent:
                self._end(None)

    def abort(self) -> None:
        """Close at once."""
        if not self._closing or self._unsent:
            self._end(None)

    def left(self) -> bytes:
        """More of what had come before the connection was lost; raises `OSError`."""
        return self._sock.recv(READ_BYTES)

    # the epoll's side

    def ready(self, events: int) -> None:
        try:
            if events & _OUT:
                self._flush()
            if events != _OUT and not self._closing:
                self._read()
        except Exception:
            log.exception("A connection broke")
            self.abort()

    def _read(self) -> None:
        if self._ended:
            self._end(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
            return
        if not self._reading:
            self._wait()
            return
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._talk.data_received(data)
        else:
            self._ended = True
            self._wait()
            self._talk.eof_received()

    def _flush(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if not self._unsent:
            self._wait()
            if self._closing:
                self._end(None)
            elif self._finishing:
                self._finish()
        if self._held_up and len(self._unsent) <= UNSENT_BYTES // 4:
            self._held_up = False
            self._talk.resume_writing()

    def _finish(self) -> None:
        with contextlib.suppress(OSError):  # it has gone, as the epoll will tell
            self._sock.shutdown(socket.SHUT_WR)

    def _wait(self) -> None:
        reading = self._reading and not (self._ended or self._closing)
        events = (_IN if reading else 0) | (_OUT if self._unsent else 0)
        # who has said all it has to say may still go; of others that is heard when they are read
        if events or (self._ended and not self._closing):
            self._wires.wait(self._fd, self, events)
        else:
            self._wires.forget(self._fd)

    def _end(self, error: OSError | None) -> None:
        self._closing = True
        self._held = b""
        self._unsent.clear()
        self._wires.forget(self._fd)
        self._wires.loop.call_soon(self._lost, error)

    def _lost(self, error: OSError | None) -> None:
        """In a turn of its own: who calls `write` or `close` is not called back from there."""
        try:
            self._talk.connection_lost(error)
        finally:
            self._sock.close()
