"""An `async def` function: calls share one event loop."""

import asyncio


async def main(seconds: float = 0.01) -> str:
    await asyncio.sleep(seconds)
    return f"slept {seconds} s"
