"""Many things to do, one by one: in between, whoever else has something to do has a turn."""

import asyncio
from collections.abc import Callable, Iterator

from fob.engine.control.plans import Action, Kind


class Pacing:
    """Has `do(action)` called for each action of a deployment's step."""

    def __init__(self, do: Callable[[Action], None]) -> None:
        self._do = do

    def begin(self, actions: list[Action]) -> None:
        """Stop at once, but start when whoever wants it has been answered."""
        if any(action.kind is Kind.STOP for action in actions):
            self._go_on(iter(actions))
        else:
            asyncio.get_running_loop().call_soon(self._go_on, iter(actions))

    def _go_on(self, actions: Iterator[Action]) -> None:
        """Do the next; before the one after that, give way to requests and to readers of events."""
        if action := next(actions, None):
            self._do(action)
            asyncio.get_running_loop().call_soon(self._go_on, actions)
