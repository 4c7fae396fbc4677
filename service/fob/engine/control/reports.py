"""What is kept of tasks for the next engine, and told of them to those who listen."""

import logging

from fob.engine.errors import ApiError
from fob.engine.events import Events
from fob.engine.states import ENDED, TaskState
from fob.engine.store.records import Store
from fob.engine.tasks import marathon_json
from fob.engine.tasks.check_results import Health
from fob.engine.tasks.task import Task

log = logging.getLogger(__name__)


class Reports:
    """Writes tasks to the `store`, and to the `events` in Marathon's words."""

    def __init__(self, store: Store, events: Events, host: str, agent_id: str) -> None:
        self._store = store
        self._events = events
        self.host = host
        self.agent_id = agent_id

    def note(self, task: Task, state: TaskState, message: str, for_next: bool) -> None:
        """It has come to `state`: log that, and keep it as it is now."""
        reason = message.partition("\n")[0]
        log.info("%s %s%s", task.record.id, state, reason and f": {reason}")
        self.keep(task, for_next)

    def keep(self, task: Task, for_next: bool = False) -> None:
        """Keep it as it is now; one that has ended only `for_next`, the engine that comes next."""
        try:
            if task.state in ENDED and not for_next:
                self._store.remove_task(task.record.id)
            else:
                self._store.put_task(task.record)
        except ApiError as full:
            log.error("the state of %s is not kept: %s", task.record.id, full)

    def failure(self, task: Task, message: str) -> marathon_json.Json:
        """Keep why it failed, and give that as its app's `lastTaskFailure`."""
        failure = marathon_json.failure(task, message, self.host, self.agent_id)
        try:
            self._store.put_failure(failure, task.hopeless)
        except ApiError as full:
            log.error("the failure of %s is not kept: %s", task.record.id, full)
        return failure

    def status(self, task: Task, message: str) -> None:
        """Its state has changed."""
        status = marathon_json.status(task, message, self.host, self.agent_id)
        self._events.publish("status_update_event", **status)
        changed = marathon_json.condition(task, self.host, self.agent_id)
        self._events.publish("instance_changed_event", **changed)

    def health(self, task: Task, alive: bool) -> None:
        """One of its health checks has changed its mind, or its mark says that it serves."""
        for event_type, payload in marathon_json.health_events(task, alive):
            self._events.publish(event_type, **payload)

    def failed_check(self, task: Task, health: Health) -> None:
        """A health check has failed, and that counts."""
        failed = marathon_json.failed_check(task, health.check.definition)
        self._events.publish("failed_health_check_event", **failed)

    def unhealthy(self, task: Task, health: Health) -> None:
        """It is killed because of a health check."""
        killed = marathon_json.unhealthy(task, health.last_failure_cause, self.host, self.agent_id)
        # the first is what it was called before Marathon 1.4
        for event_type in ("unhealthy_task_kill_event", "unhealthy_instance_kill_event"):
            self._events.publish(event_type, **killed)

    def gone(self, app_id: str) -> None:
        """The last task of an app that was removed has ended."""
        self._events.publish("app_terminated_event", appId=app_id)
