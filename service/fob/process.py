"""What the server processes of fob share: stop signals and the limit on open files."""

import asyncio
import math
import os
import resource
import signal

# `timeout`, shells and supervisors send a signal to the process and then to its group as well:
# a second signal within this time belongs to the same stop
ECHO_SECONDS = 0.5


def stop_event(exit_on_repeat: bool = False) -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set, in the running loop.

    With `exit_on_repeat` a later signal ends the process at once, with status 128 + its number.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    repeated_from = math.inf

    def stop(number: int) -> None:
        nonlocal repeated_from
        # os._exit, not SIG_DFL and another kill: PID 1 of a container has no default action
        if exit_on_repeat and loop.time() > repeated_from:
            os._exit(128 + number)
        if not stopping.is_set():
            repeated_from = loop.time() + ECHO_SECONDS
            stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    return stopping


def raise_file_limit() -> None:
    """Raise the soft limit on open files to the hard limit.

    The dispatcher needs a descriptor per client connection, the engine about five per task.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
