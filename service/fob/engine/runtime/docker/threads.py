"""Threads for Docker's client, which blocks. No end of the process waits for them, unlike for
those of an executor: a Docker engine that hangs holds up nobody."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar, cast

T = TypeVar("T")


def start(name: str, work: Callable[[], object]) -> None:
    """Do `work`, which raises nothing, in a thread of that name."""
    threading.Thread(target=work, name=name, daemon=True).start()


async def outcome(name: str, work: Callable[[], T]) -> T:
    """What `work`, done in a thread, returns or raises; who is cancelled does not wait for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if done.done():  # cancelled
            return
        if error is None:
            done.set_result(cast(T, result))
        else:
            done.set_exception(error)

    def run() -> None:
        told: tuple[T | None, Exception | None]
        try:
            told = work(), None
        except Exception as error:  # noqa: BLE001 - it is raised where the work was wanted
            told = None, error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the engine has gone
            loop.call_soon_threadsafe(settle, *told)

    start(name, run)
    return await done
