"""Results of a task's health and readiness checks."""

from dataclasses import dataclass
from typing import Any

from fob.engine.definitions.checks import HealthCheck, ReadinessCheck
from fob.timeline import utc_now


@dataclass(frozen=True)
class ProbeResponse:
    """An HTTP response; `content_type` and `body` are empty unless they were asked for."""

    status: int
    content_type: str = ""
    body: str = ""


@dataclass
class Health:
    """The results of one health check for one task; times in Marathon's format."""

    check: HealthCheck
    first_success: str | None = None
    last_success: str | None = None
    last_failure: str | None = None
    last_failure_cause: str | None = None
    failures: int = 0  # since the last success
    known: bool = False  # the task has been checked, be it with a failure that does not count

    @property
    def alive(self) -> bool:
        return self.last_success is not None and not self.failures

    def succeeded(self) -> None:
        self.known = True
        self.last_success = utc_now()
        self.first_success = self.first_success or self.last_success
        self.failures = 0

    def failed_while_starting(self) -> None:
        """Note a failure that does not count: the task is not alive yet, as in Marathon."""
        self.known = True

    def failed(self, cause: str) -> None:
        self.known = True
        self.last_failure, self.last_failure_cause = utc_now(), cause
        self.failures += 1

    def json(self, task_id: str) -> dict[str, Any]:
        """Return an entry of a task's `healthCheckResults`."""
        return {
            "alive": self.alive,
            "consecutiveFailures": self.failures,
            "firstSuccess": self.first_success,
            "lastFailure": self.last_failure,
            "lastSuccess": self.last_success,
            "lastFailureCause": self.last_failure_cause,
            "taskId": task_id,
            "instanceId": task_id,
        }


@dataclass
class Readiness:
    """The result of one readiness check for one task."""

    check: ReadinessCheck
    ready: bool = False
    response: ProbeResponse | None = None  # the last one, if the check preserves it

    def json(self, task_id: str) -> dict[str, Any]:
        """Return an entry of `readinessCheckResults`."""
        result = {"name": self.check.name, "taskId": task_id, "ready": self.ready}
        if self.response is None:
            return result
        last = {
            "status": self.response.status,
            "contentType": self.response.content_type,
            "body": self.response.body,
        }
        return result | {"lastResponse": last}
