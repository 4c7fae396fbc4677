"""What a function is doing, in a user's words, from what Marathon knows of its app."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fob.errors import NotReady
from fob.source import dependencies

WAITING = "waiting"  # for resources, or for its turn
STARTING = "starting"  # an instance is on its way
RUNNING = "running"  # an instance answers
FAILED = "failed"  # it ended; the reason says whether and when it is tried again
SUSPENDED = "suspended"  # scaled to no instance


@dataclass(frozen=True)
class Status:
    """A state and the sentence that explains it.

    `next_retry` is seconds, None when no retry is due; `last_failure` is None when there is none
    that still matters.
    """

    state: str
    reason: str
    next_retry: float | None = None
    last_failure: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """True when waiting alone will never make it ready."""
        return self.state == SUSPENDED or (self.state == FAILED and self.next_retry is None)

    @property
    def retry_after(self) -> int:
        """Whole seconds after which asking again makes sense."""
        return 60 if self.final else max(1, math.ceil(self.next_retry or 0))

    def not_ready(self, id_: str) -> NotReady:
        """The error for whoever wanted the function `id_` to answer now."""
        return NotReady(
            f"The function {id_} is not ready ({self.state}): {self.reason}",
            details=self.json(),
            headers={"Retry-After": str(self.retry_after)},
        )

    def json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "reason": self.reason,
            "next_retry_seconds": self.next_retry,
            "last_failure": self.last_failure,
        }


def status(app: Mapping[str, Any], ready: int, queue: Iterable[Mapping[str, Any]]) -> Status:
    """The function's status.

    `app` is Marathon's answer for it with tasks, `ready` the number of instances that answer,
    `queue` the items of /v2/queue.
    """
    wanted = int(app.get("instances") or 0)
    failure = _failure(app)
    item = next((item for item in queue if queued_id(item) == app["id"]), None)
    if ready:
        return Status(RUNNING, _answering(ready, wanted, item, failure), None, failure)
    if wanted == 0:
        return Status(SUSPENDED, 'Scaled to 0 instances; PATCH {"instances": 1} starts it')
    if app.get("tasks"):
        return Status(STARTING, _starting(app, failure), None, failure)
    if item is not None:
        return _queued(item, failure)
    if failure and not app.get("deployments"):
        return Status(FAILED, f"{_why(failure)}; it will not be restarted", None, failure)
    if app.get("deployments"):
        return Status(STARTING, "Marathon is deploying it", None, failure)
    return Status(WAITING, "Marathon has not begun to start it", None, failure)


def _answering(
    ready: int, wanted: int, item: Mapping[str, Any] | None, failure: dict[str, Any] | None
) -> str:
    """How many answer, and what keeps the one that is to come, be it one more or a changed one."""
    answering = f"{ready} of {wanted} instances answer"
    if item is None or item.get("count") == 0:
        return answering
    return f"{answering}, and another one is to come: {_queued(item, failure).reason}"


def _queued(item: Mapping[str, Any], failure: dict[str, Any] | None) -> Status:
    delay = float((item.get("delay") or {}).get("timeLeftSeconds") or 0)
    if failure and delay > 0:
        return Status(
            FAILED, f"{_why(failure)}; it is started again in {delay:g} s", delay, failure
        )
    if delay > 0:
        return Status(WAITING, f"Marathon starts it in {delay:g} s", delay, None)
    return Status(WAITING, _waiting(item), None, failure)


def _waiting(item: Mapping[str, Any]) -> str:
    """Marathon's own reasons for not placing it, with the counts."""
    summary = item.get("processedOffersSummary") or {}
    rejected = [
        f"{entry.get('reason')} ({entry.get('declined')} of {entry.get('processed')} offers)"
        for entry in summary.get("rejectSummaryLastOffers") or []
        if entry.get("declined")
    ]
    if rejected:
        words = ", ".join([*rejected, *_lacking(item)])
        return f"No machine has room for it: {words}"
    return "It waits for Marathon to find a machine with room"


def _lacking(item: Mapping[str, Any]) -> list[str]:
    """What fob's own engine says in words of an offer that was not enough."""
    offers = [unused.get("offer") or {} for unused in item.get("lastUnusedOffers") or []]
    attributes = [attribute for offer in offers for attribute in offer.get("attributes") or []]
    return [str(each.get("text")) for each in attributes if each.get("name") == "lacking"]


def _starting(app: Mapping[str, Any], failure: dict[str, Any] | None) -> str:
    if failure:
        return f"It is started again after: {_why(failure)}"
    packages = dependencies.of_app(app).requirements
    first = f", its dependencies first: {', '.join(packages)}" if packages else ""
    return f"It is being started{first}"


def _why(failure: Mapping[str, Any]) -> str:
    """The first line of the failure; the rest is in `last_failure`."""
    lines = str(failure["message"]).strip().splitlines()
    return lines[0] if lines else str(failure["task_state"])


def told(failure: Mapping[str, Any]) -> dict[str, Any]:
    """A failure as Marathon tells it (`lastTaskFailure`), in our words."""
    return {
        "at": failure.get("timestamp"),
        "task": failure.get("taskId"),
        "task_state": failure.get("state"),
        "host": failure.get("host"),
        "message": failure.get("message") or "",
    }


def _failure(app: Mapping[str, Any]) -> dict[str, Any] | None:
    """The last failure in our words, unless the app's configuration changed since."""
    last = app.get("lastTaskFailure")
    if not last:
        return None
    changed = (app.get("versionInfo") or {}).get("lastConfigChangeAt", "")
    if str(last.get("version", changed)) < str(changed):
        return None
    return told(last)


def queued_id(item: Mapping[str, Any]) -> Any:
    """The id of the app that this item of the queue is about."""
    return (item.get("app") or {}).get("id")
