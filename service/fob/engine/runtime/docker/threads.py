"""Daemon threads for Docker's client, which blocks.

A process that exits waits for the threads of an executor, but not for these: a Docker engine that
hangs cannot keep the engine from stopping.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar, cast

T = TypeVar("T")


def start(name: str, work: Callable[[], object]) -> None:
    """Run `work`, which must not raise, in a thread called `name`."""
    threading.Thread(target=work, name=name, daemon=True).start()


async def run(name: str, work: Callable[[], T]) -> T:
    """Run `work` in a thread and return or raise its outcome. When this is cancelled the thread
    goes on, and its outcome is dropped."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.done():  # cancelled
            return
        if error is None:
            done.set_result(cast(T, result))
        else:
            done.set_exception(error)

    def target() -> None:
        outcome: tuple[T | None, Exception | None]
        try:
            outcome = work(), None
        except Exception as error:  # noqa: BLE001 - raised by the await below
            outcome = None, error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the engine has stopped
            loop.call_soon_threadsafe(settle, *outcome)

    start(name, target)
    return await done
