"""The state of a function and its reason in words, derived from Marathon's view of its app."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fob.errors import NotReady
from fob.source import dependencies

WAITING = "waiting"  # for resources, or for its turn
STARTING = "starting"  # an instance is starting
RUNNING = "running"  # an instance is ready
FAILED = "failed"  # its last instance ended; the reason says whether and when it is restarted
SUSPENDED = "suspended"  # scaled to 0 instances


@dataclass(frozen=True)
class Status:
    """A state and the sentence that explains it.

    `next_retry` is in seconds, None if no retry is due; `last_failure` is None if there was none
    since the last change of its configuration.
    """

    state: str
    reason: str
    next_retry: float | None = None
    last_failure: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """True if it will not become ready without a change."""
        return self.state == SUSPENDED or (self.state == FAILED and self.next_retry is None)

    @property
    def retry_after(self) -> int:
        """The value of `Retry-After`: whole seconds after which a retry makes sense."""
        return 60 if self.final else max(1, math.ceil(self.next_retry or 0))

    def not_ready(self, id_: str) -> NotReady:
        """Return the error for a caller of the function `id_`."""
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
    """Return the function's status.

    `app` is Marathon's JSON of the app with its tasks, `ready` the number of ready instances,
    `queue` the items of /v2/queue.
    """
    desired = int(app.get("instances") or 0)
    failure = _failure(app)
    item = next((item for item in queue if queued_id(item) == app["id"]), None)
    if ready:
        return Status(RUNNING, _running(ready, desired, item, failure), None, failure)
    if desired == 0:
        return Status(SUSPENDED, 'Scaled to 0 instances; PATCH {"instances": 1} starts it')
    if app.get("tasks"):
        return Status(STARTING, _starting(app, failure), None, failure)
    if item is not None:
        return _queued(item, failure)
    if failure and not app.get("deployments"):
        return Status(FAILED, f"{_why(failure)}; it will not be restarted", None, failure)
    if app.get("deployments"):
        return Status(STARTING, "Marathon is deploying it", None, failure)
    return Status(WAITING, "Marathon has not started it yet", None, failure)


def _running(
    ready: int, desired: int, item: Mapping[str, Any] | None, failure: dict[str, Any] | None
) -> str:
    """Say how many instances are ready, and why one more, or a changed one, is still pending."""
    running = f"{ready} of {desired} instances are ready"
    if item is None or item.get("count") == 0:
        return running
    return f"{running}; another one is pending: {_queued(item, failure).reason}"


def _queued(item: Mapping[str, Any], failure: dict[str, Any] | None) -> Status:
    delay = float((item.get("delay") or {}).get("timeLeftSeconds") or 0)
    if failure and delay > 0:
        return Status(FAILED, f"{_why(failure)}; it restarts in {delay:g} s", delay, failure)
    if delay > 0:
        return Status(WAITING, f"Marathon will start it in {delay:g} s", delay, None)
    return Status(WAITING, _waiting(item), None, failure)


def _waiting(item: Mapping[str, Any]) -> str:
    """Give Marathon's own reasons for not placing it, with their counts."""
    summary = item.get("processedOffersSummary") or {}
    rejected = [
        f"{entry.get('reason')} ({entry.get('declined')} of {entry.get('processed')} offers)"
        for entry in summary.get("rejectSummaryLastOffers") or []
        if entry.get("declined")
    ]
    if rejected:
        reasons = ", ".join([*rejected, *_shortages(item)])
        return f"No machine has room for it: {reasons}"
    return "Marathon is looking for a machine with room"


def _shortages(item: Mapping[str, Any]) -> list[str]:
    """Return the sentences with which fob's own engine explains an insufficient offer."""
    offers = [unused.get("offer") or {} for unused in item.get("lastUnusedOffers") or []]
    attributes = [attribute for offer in offers for attribute in offer.get("attributes") or []]
    return [str(each.get("text")) for each in attributes if each.get("name") == "lacking"]


def _starting(app: Mapping[str, Any], failure: dict[str, Any] | None) -> str:
    if failure:
        return f"It is restarting after: {_why(failure)}"
    packages = dependencies.of_app(app).requirements
    first = f"; its dependencies are installed first: {', '.join(packages)}" if packages else ""
    return f"It is starting{first}"


def _why(failure: Mapping[str, Any]) -> str:
    """Return the first line of the failure; `last_failure` has all of it."""
    lines = str(failure["message"]).strip().splitlines()
    return lines[0] if lines else str(failure["task_state"])


def failure_json(failure: Mapping[str, Any]) -> dict[str, Any]:
    """Return a failure in Marathon's format (`lastTaskFailure`) with the keys of fob's API."""
    return {
        "at": failure.get("timestamp"),
        "task": failure.get("taskId"),
        "task_state": failure.get("state"),
        "host": failure.get("host"),
        "message": failure.get("message") or "",
    }


def _failure(app: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the last failure, unless the app's configuration changed since."""
    last = app.get("lastTaskFailure")
    if not last:
        return None
    changed = (app.get("versionInfo") or {}).get("lastConfigChangeAt", "")
    if str(last.get("version", changed)) < str(changed):
        return None
    return failure_json(last)


def queued_id(item: Mapping[str, Any]) -> Any:
    """Return the id of the app that this item of the queue is about."""
    return (item.get("app") or {}).get("id")
