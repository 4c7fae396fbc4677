"""The body of a request while it comes in: taken by one task, passed on by another."""

import asyncio
from collections.abc import AsyncIterator

# a body that nobody wants is read to its end nevertheless, so that the client gets to see its
# answer: a connection closed while the client still sends would take the answer with it
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 10.0


class ClientBody:
    """A body of which at most one piece waits here to be passed on."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._ended = False

    async def put(self, piece: bytes) -> None:
        """Hand in a piece; returns when it has been taken, and only then more is to be read."""
        self._pieces.put_nowait(piece)
        await self._pieces.join()

    def end(self) -> None:
        """There is no more."""
        self._pieces.put_nowait(None)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces as they come, to the end."""
        while not self._ended:
            piece = await self._pieces.get()
            self._pieces.task_done()
            if piece is None:
                self._ended = True
            else:
                yield piece

    async def drain(self) -> None:
        """Read what is left and forget it; gives up on a client that is slow or endless."""
        size = 0
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                async for piece in self.pieces():
                    size += len(piece)
                    if size > DRAIN_BYTES:
                        return
        except TimeoutError:
            return

    def let_go(self) -> None:
        """Nobody takes pieces any more; whoever hands one in is not kept waiting."""
        while not self._pieces.empty():
            self._pieces.get_nowait()
            self._pieces.task_done()
