import pytest

from fob.engine import states
from fob.engine.states import ENDED, TRANSITIONS, TaskState


def test_every_state_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(TaskState)


def test_an_ended_task_stays_ended() -> None:
    for ended in ENDED:
        for state in TaskState:
            with pytest.raises(ValueError, match="cannot go"):
                states.check_transition(ended, state)


def test_every_living_state_can_end() -> None:
    for state in set(TaskState) - ENDED:
        assert TRANSITIONS[state] & ENDED


def test_a_task_cannot_run_before_it_has_started() -> None:
    with pytest.raises(ValueError, match="TASK_STAGING to TASK_RUNNING"):
        states.check_transition(TaskState.STAGING, TaskState.RUNNING)
    states.check_transition(TaskState.STAGING, TaskState.STARTING)
    states.check_transition(TaskState.STARTING, TaskState.RUNNING)
