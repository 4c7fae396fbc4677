import pytest

from fob.functions.status import Status, status

APP = {"id": "/fob-aviary/x", "instances": 2, "tasks": [], "deployments": []}
FAILURE = {
    "taskId": "x.1",
    "state": "TASK_FAILED",
    "message": "exit 3\nTraceback...",
    "timestamp": "2016-04-02T23:09:47.123Z",
    "version": "2016-04-02T23:00:00.000Z",
    "host": "h",
}


def queued(delay=0.0, **more):
    delays = {"timeLeftSeconds": delay, "overdue": not delay}
    return [{"app": {"id": "/other"}}, {"app": {"id": APP["id"]}, "delay": delays, **more}]


def of(app=None, ready=0, queue=()) -> Status:
    return status(APP | (app or {}), ready, queue)


def test_a_function_with_a_ready_instance_is_running():
    assert of(ready=1).state == "running"
    assert of({"lastTaskFailure": FAILURE}, ready=1).last_failure["task"] == "x.1"


def test_a_function_scaled_to_0_stays_suspended():
    found = of({"instances": 0})
    assert (found.state, found.final) == ("suspended", True)


def test_a_function_with_a_starting_instance_is_starting():
    assert of({"tasks": [{}]}).state == "starting"
    again = of({"tasks": [{}], "lastTaskFailure": FAILURE})
    assert again.state == "starting"
    assert "exit 3" in again.reason


def test_a_failure_in_backoff_says_when_it_restarts():
    found = of({"lastTaskFailure": FAILURE}, queue=queued(2.3))
    assert (found.state, found.next_retry, found.final) == ("failed", 2.3, False)
    assert found.retry_after == 3
    assert found.reason == "exit 3; it restarts in 2.3 s"
    assert found.last_failure["message"] == FAILURE["message"]


def test_a_permanent_failure_says_so():
    found = of({"lastTaskFailure": FAILURE})
    assert (found.state, found.next_retry, found.final) == ("failed", None, True)
    assert "will not be restarted" in found.reason


def test_a_failure_of_an_earlier_configuration_no_longer_matters():
    changed = {"versionInfo": {"lastConfigChangeAt": "2016-04-02T23:30:00.000Z"}}
    found = of({"lastTaskFailure": FAILURE, **changed})
    assert (found.state, found.last_failure) == ("waiting", None)


@pytest.mark.parametrize("message", [None, ""])
def test_a_failure_without_a_message_is_described_by_its_state(message):
    found = of({"lastTaskFailure": FAILURE | {"message": message}})
    assert found.reason.startswith("TASK_FAILED")


def test_waiting_names_marathons_reasons_with_the_numbers():
    rejects = [
        {"reason": "InsufficientMemory", "declined": 3, "processed": 4},
        {"reason": "InsufficientCpus", "declined": 0, "processed": 1},
    ]
    summary = {"rejectSummaryLastOffers": rejects}
    found = of(queue=queued(processedOffersSummary=summary))
    assert found.state == "waiting"
    assert "InsufficientMemory (3 of 4 offers)" in found.reason
    assert "InsufficientCpus" not in found.reason


def test_a_running_function_says_why_another_instance_is_pending():
    assert of(ready=1).reason == "1 of 2 instances are ready"
    rejects = [{"reason": "InsufficientCpus", "declined": 4, "processed": 4}]
    lacking = queued(processedOffersSummary={"rejectSummaryLastOffers": rejects})
    said = of(ready=1, queue=lacking)
    assert said.state == "running"
    assert said.reason.startswith("1 of 2 instances are ready; another one is pending: ")
    assert "InsufficientCpus (4 of 4 offers)" in said.reason
    again = of({"lastTaskFailure": FAILURE}, ready=2, queue=queued(7))
    assert again.reason.endswith("is pending: exit 3; it restarts in 7 s")
    assert of(ready=2, queue=queued(count=0)).reason == "2 of 2 instances are ready"


def test_waiting_without_a_reason_is_waiting():
    assert of(queue=queued()).state == "waiting"
    assert of().state == "waiting"
    assert of(queue=queued(5)).next_retry == 5


def test_a_function_being_deployed_is_starting():
    assert of({"deployments": [{"id": "d"}], "lastTaskFailure": FAILURE}).state == "starting"
