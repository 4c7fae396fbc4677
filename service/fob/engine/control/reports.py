"""Reports what happens to tasks: to the log, to the store, and to the event stream."""

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
    """Writes tasks to the `store`, and publishes their `events` as Marathon does."""

    def __init__(self, store: Store, events: Events, host: str, agent_id: str) -> None:
        self._store = store
        self._events = events
        self.host = host
        self.agent_id = agent_id

    def log_and_store(
        self, task: Task, state: TaskState, message: str, keep_ended: bool = False
    ) -> None:
        """Log that the task has entered `state`, and store its record."""
        reason = message.partition("\n")[0]
        log.info("%s %s%s", task.record.id, state, reason and f": {reason}")
        self.store(task, keep_ended)

    def store(self, task: Task, keep_ended: bool = False) -> None:
        """Store the task's record. That of an ended task is removed, except with `keep_ended`: the
        next engine then gives its ports to its replacement."""
        try:
            if task.state in ENDED and not keep_ended:
                self._store.remove_task(task.record.id)
            else:
                self._store.put_task(task.record)
        except ApiError as full:
            log.error("cannot store the state of %s: %s", task.record.id, full)

    def failure(self, task: Task, message: str) -> marathon_json.Json:
        """Store why the task failed; return it as its app's `lastTaskFailure`."""
        failure = marathon_json.failure(task, message, self.host, self.agent_id)
        try:
            self._store.put_failure(failure, task.failed_permanently)
        except ApiError as full:
            log.error("cannot store the failure of %s: %s", task.record.id, full)
        return failure

    def status(self, task: Task, message: str) -> None:
        """Publish the state of the task, which has changed."""
        status = marathon_json.status(task, message, self.host, self.agent_id)
        self._events.publish("status_update_event", **status)
        changed = marathon_json.condition(task, self.host, self.agent_id)
        self._events.publish("instance_changed_event", **changed)

    def health_changed(self, task: Task, alive: bool) -> None:
        """Publish that the task became healthy or unhealthy."""
        for event_type, payload in marathon_json.health_events(task, alive):
            self._events.publish(event_type, **payload)

    def health_check_failed(self, task: Task, health: Health) -> None:
        """Publish that a health check of the task has failed."""
        failed = marathon_json.failed_check(task, health.check.definition)
        self._events.publish("failed_health_check_event", **failed)

    def killed_as_unhealthy(self, task: Task, health: Health) -> None:
        """Publish that the task is killed because of a health check."""
        killed = marathon_json.unhealthy(task, health.last_failure_cause, self.host, self.agent_id)
        # the first is its name before Marathon 1.4
        for event_type in ("unhealthy_task_kill_event", "unhealthy_instance_kill_event"):
            self._events.publish(event_type, **killed)

    def app_terminated(self, app_id: str) -> None:
        """Publish that the last task of a removed app has ended."""
        self._events.publish("app_terminated_event", appId=app_id)
