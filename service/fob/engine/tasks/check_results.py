"""What health and readiness checks have found of a task so far: data of the task."""

from dataclasses import dataclass
from typing import Any

from fob.engine.definitions.checks import HealthCheck, ReadinessCheck
from fob.timeline import utc_now


@dataclass(frozen=True)
class ProbeResponse:
    """An HTTP answer; the `body` only when it was asked for."""

    status: int
    content_type: str = ""
    body: str = ""


@dataclass
class Health:
    """What a check has found of one task so far; times as Marathon writes them."""

    check: HealthCheck
    first_success: str | None = None
    last_success: str | None = None
    last_failure: str | None = None
    last_failure_cause: str | None = None
    failures: int = 0  # since the last success

    @property
    def known(self) -> bool:
        return bool(self.last_success or self.last_failure)

    @property
    def alive(self) -> bool:
        return self.last_success is not None and not self.failures

    def succeeded(self) -> None:
        self.last_success = utc_now()
        self.first_success = self.first_success or self.last_success
        self.failures = 0

    def failed(self, cause: str) -> None:
        self.last_failure, self.last_failure_cause = utc_now(), cause
        self.failures += 1

    def json(self, task_id: str) -> dict[str, Any]:
        """As `healthCheckResults` of a task has it."""
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
    """What a check has found of one task so far."""

    check: ReadinessCheck
    ready: bool = False
    answer: ProbeResponse | None = None  # the last, if it is to be kept

    def json(self, task_id: str) -> dict[str, Any]:
        """As `readinessCheckResults` have it."""
        result = {"name": self.check.name, "taskId": task_id, "ready": self.ready}
        if self.answer is None:
            return result
        answer = self.answer
        last = {"status": answer.status, "contentType": answer.content_type, "body": answer.body}
        return result | {"lastResponse": last}
