"""TCP transports that share one epoll, which the event loop watches as a single descriptor.

They call their protocols as asyncio's transports do, but without the loop's work per event.
"""

# How the epoll is nested, and why
# --------------------------------
# For every event of every socket asyncio schedules a handle and runs it in its context, in the next
# pass of the loop. Together that costs as much as passing on a call. So the sockets that carry
# calls are not registered with the loop. They are in an epoll instance of their own (`Transports`),
# and an epoll instance is itself a descriptor: it is readable while at least one descriptor in it
# is ready. The loop watches that one descriptor, and `_run_turn` serves whatever is ready.
#
# Everything is level-triggered: a socket with unread data is reported again by every poll. So one
# `recv` per event is enough, and no event can be lost by serving only part of what is ready. The
# price is that a readable socket that is not to be read has to leave the epoll, or every poll would
# report it again (see `Transport._update_watch`).
#
# A turn is one call by the loop. It polls and serves in batches of up to `MAX_EVENTS`, until
# nothing is ready or `MAX_TURN_SECONDS` have passed; then timers, tasks and everything else that
# uses the loop get to run. What is still ready makes the epoll readable, so the loop comes back.
#
# Within a batch, `write` only appends to the transport, and all transports written to are flushed
# at the end of the batch. That joins several writes to a connection (pipelined responses) into one
# `send`. It also puts the sends of a batch next to each other: the first wakes the receiving
# process, and it is still running when the others arrive, so they are cheaper. Outside a batch (in
# tasks and timers) `write` sends at once.
#
# A send is tried before any wait for writability. The kernel's buffer nearly always has room, so a
# response usually costs one `send` and no `epoll_ctl`. EPOLLOUT is watched only for bytes that the
# kernel did not accept.
#
# Measured (docs/performance.md, 16 connections): a routed call costs 75 us of CPU, dispatcher and
# function together, nginx in front of the same function 44 us, a bare Tornado handler 324 us.

import asyncio
import contextlib
import errno
import logging
import select
import socket
import time
from typing import Protocol

log = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
# Unsent bytes above which a protocol is asked to pause writing; it may resume below a quarter.
MAX_UNSENT_BYTES = 64 * 1024
MAX_EVENTS = 64
MAX_TURN_SECONDS = 0.002
# When every event of a batch will be followed by another soon (a request has been passed on, its
# response is due), polling for that long is cheaper than a pass of the loop in between.
EXPECT_SECONDS = 0.001

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Watched(Protocol):
    """The owner of a descriptor in the epoll."""

    def on_events(self, events: int) -> None:
        """Serve the descriptor, which may turn out not to be ready. Must not raise."""


class StreamProtocol(Protocol):
    """The reader and writer of a connection, called from the event loop; see asyncio.Protocol."""

    def connection_made(self, transport: "Transport") -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def connection_lost(self, error: OSError | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Transports:
    """The epoll, served by the running loop. Close it after everything that is watched in it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._expected = 0
        # the transports written to in the current batch; None outside of batches
        self.unflushed: list[Transport] | None = None
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self._epoll.fileno(), self._run_turn)

    def watch(self, fd: int, owner: Watched, events: int) -> None:
        """Call `owner` on these events, and always when the connection breaks."""
        if fd in self._watched:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
            self._watched[fd] = owner

    def unwatch(self, fd: int) -> None:
        """Stop watching; idempotent."""
        if self._watched.pop(fd, None):
            self._epoll.unregister(fd)

    def expect_event(self) -> None:
        """Note, once per event served, that it gave the loop no work and another is due soon."""
        self._expected += 1

    def close(self) -> None:
        self.loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    def _run_turn(self) -> None:
        end = time.monotonic() + MAX_TURN_SECONDS
        timeout = 0.0
        while ready := self._epoll.poll(timeout, MAX_EVENTS):
            self._expected = 0
            unflushed: list[Transport] = []
            self.unflushed = unflushed
            for fd, events in ready:
                # The batch may name a descriptor that was unwatched earlier in this batch. It
                # cannot be another connection's yet: a transport closes its socket in a later
                # pass of the loop (see `_disconnect`), so the number is still in use.
                if owner := self._watched.get(fd):
                    owner.on_events(events)
            self.unflushed = None
            for transport in unflushed:
                transport.flush()
            if time.monotonic() > end:
                return
            timeout = EXPECT_SECONDS if self._expected == len(ready) else 0.0


class Transport:
    """A connection and the bytes still to be sent on it."""

    __slots__ = (
        "_batch",
        "_closing",
        "_eof_received",
        "_fd",
        "_protocol",
        "_reading",
        "_sock",
        "_transports",
        "_unsent",
        "_writing_eof",
        "_writing_paused",
        "peer_ip",
    )

    def __init__(
        self,
        transports: Transports,
        sock: socket.socket,
        protocol: StreamProtocol,
        peer_ip: str = "",
    ) -> None:
        self.peer_ip = peer_ip
        self._transports = transports
        self._sock = sock
        self._protocol = protocol
        self._fd = sock.fileno()
        self._batch = b""  # written since the last flush
        self._unsent = bytearray()  # flushed, but not accepted by the kernel yet
        self._reading = True
        self._eof_received = False
        self._writing_paused = False
        self._writing_eof = False
        self._closing = False
        sock.setblocking(False)
        # otherwise Nagle's algorithm waits for a delayed ACK: 44 ms per call, measured
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transports.watch(self._fd, self, _IN)
        protocol.connection_made(self)

    # called by the protocol

    def write(self, data: bytes) -> None:
        """Send `data` at the end of the current batch, at once when there is none."""
        if self._closing:
            return
        if self._batch:
            self._batch += data
        else:
            self._batch = data
            if self._transports.unflushed is None:
                self.flush()
            else:
                self._transports.unflushed.append(self)

    def flush(self) -> None:
        """Send what was written; the rest as soon as the peer accepts more."""
        data, self._batch = self._batch, b""
        if not data:
            return
        sent = 0
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError as error:
                self._disconnect(error)
                return
            if sent == len(data):
                return
        self._unsent += data[sent:]
        self._update_watch()
        if not self._writing_paused and len(self._unsent) > MAX_UNSENT_BYTES:
            self._writing_paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """Half-close: send what was written, then the end of the stream; still read."""
        self.flush()
        self._writing_eof = True
        if not self._unsent:
            self._send_eof()

    def pause_reading(self) -> None:
        # The epoll is not changed yet: mostly reading resumes before anything arrives, which saves
        # two system calls. If data does arrive first, `_read` stops watching for it.
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            if not self._closing:
                self._update_watch()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Stop reading, and close once everything is sent."""
        if not self._closing:
            self.flush()
            self._closing = True
            self._update_watch()
            if not self._unsent:
                self._disconnect(None)

    def abort(self) -> None:
        """Close at once."""
        if not self._closing or self._unsent:
            self._disconnect(None)

    def read_remaining(self) -> bytes:
        """Read more of what arrived before the connection was lost; raises `OSError`."""
        return self._sock.recv(READ_BYTES)

    # called by the epoll

    def on_events(self, events: int) -> None:
        try:
            if events & _OUT:
                self._send_unsent()
            if events != _OUT and not self._closing:
                self._read()
        except Exception:
            log.exception("A connection failed")
            self.abort()

    def _read(self) -> None:
        if self._eof_received:
            # nothing more can arrive, so this is EPOLLHUP or EPOLLERR
            self._disconnect(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
            return
        if not self._reading:
            self._update_watch()
            return
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._disconnect(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._eof_received = True
            self._update_watch()
            self._protocol.eof_received()

    def _send_unsent(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            return
        except OSError as error:
            self._disconnect(error)
            return
        if not self._unsent:
            self._update_watch()
            if self._closing:
                self._disconnect(None)
            elif self._writing_eof:
                self._send_eof()
        if self._writing_paused and len(self._unsent) <= MAX_UNSENT_BYTES // 4:
            self._writing_paused = False
            self._protocol.resume_writing()

    def _send_eof(self) -> None:
        with contextlib.suppress(OSError):  # the peer has disconnected; the epoll reports it
            self._sock.shutdown(socket.SHUT_WR)

    def _update_watch(self) -> None:
        """Watch for exactly what would lead to progress, so that no event repeats in vain."""
        reading = self._reading and not (self._eof_received or self._closing)
        events = (_IN if reading else 0) | (_OUT if self._unsent else 0)
        # After the peer's EOF the socket is readable for good, so EPOLLIN has to go. With an empty
        # mask the kernel still reports EPOLLHUP and EPOLLERR: a peer that had only half-closed may
        # disconnect while it waits for a response. In every other case a disconnect is found when
        # reading resumes, and watching would only report data that is not read now.
        if events or (self._eof_received and not self._closing):
            self._transports.watch(self._fd, self, events)
        else:
            self._transports.unwatch(self._fd)

    def _disconnect(self, error: OSError | None) -> None:
        """Drop the connection now; tell the protocol and close the socket in a later pass.

        Later for two reasons: a protocol that calls `write` or `close` must not be called back
        from inside that call, and the descriptor must not be reused within the current batch.
        """
        self._closing = True
        self._batch = b""
        self._unsent.clear()
        self._transports.unwatch(self._fd)
        self._transports.loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: OSError | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()
