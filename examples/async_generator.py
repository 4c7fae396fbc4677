"""An asynchronous generator: text is streamed as text."""

import asyncio
from collections.abc import AsyncIterator


async def count(up_to: int) -> AsyncIterator[str]:
    for n in range(up_to):
        await asyncio.sleep(0)
        yield f"{n}\n"
