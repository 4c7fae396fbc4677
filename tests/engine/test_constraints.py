"""Constraints on one machine: which are met, which never are, and why."""

from collections.abc import Callable
from typing import Any

import pytest

import live
from fob.engine.definitions import app_definitions
from fob.engine.definitions.constraints import attributes_of, unmet
from fob.engine.errors import ApiError
from fob.errors import BadRequest

FOREVER = "exec sleep 1000"
MACHINE = {"hostname": "10.0.0.7", "rack": "r1", "@zone": "a"}


@pytest.mark.parametrize(
    ("constraint", "fitting"),
    [
        (["hostname", "UNIQUE"], 1),
        (["@hostname", "UNIQUE"], 1),
        (["rack", "UNIQUE"], 1),
        (["hostname", "CLUSTER"], 9),
        (["hostname", "CLUSTER", "10.0.0.7"], 9),
        (["rack", "CLUSTER", "r2"], 0),
        (["rack", "cluster", "r1"], 9),
        (["hostname", "LIKE", r"10\..*"], 9),
        (["hostname", "LIKE", "10"], 0),
        (["rack", "LIKE", "r[2-9]"], 0),
        (["rack", "UNLIKE", "r[2-9]"], 9),
        (["rack", "UNLIKE", "r1"], 0),
        (["hostname", "MAX_PER", "3"], 3),
        (["rack", "MAX_PER", "0"], 0),
        (["hostname", "GROUP_BY"], 9),
        (["rack", "GROUP_BY", "1"], 9),
        (["rack", "GROUP_BY", "3"], 1),
        (["@zone", "IS", "a"], 9),
        (["@zone", "IS", "b"], 0),
        (["@region", "IS", "a"], 0),
        (["gpu", "LIKE", ".*"], 0),
        (["gpu", "UNLIKE", ".*"], 9),
    ],
)
def test_a_machine_gets_as_many_tasks_as_the_constraint_allows(
    constraint: list[str], fitting: int
) -> None:
    placed = 0
    while placed < 9 and not unmet(constraint, MACHINE, placed):
        placed += 1
    assert placed == fitting


@pytest.mark.parametrize(
    ("constraint", "error"),
    [
        ("hostname", "error.expected.jsarray"),
        (["hostname"], "Each constraint must have either 2 or 3 fields"),
        (["hostname", "UNIQUE", "x", "y"], "Each constraint must have either 2 or 3 fields"),
        (["", "UNIQUE"], "illegal constraint specification"),
        (["hostname", "UNIQUE", "x"], "UNIQUE does not accept a value"),
        (["hostname", "MAX_PER"], "MAX_PER requires an integer value"),
        (["hostname", "MAX_PER", "x"], "MAX_PER requires an integer value"),
        (
            ["hostname", "GROUP_BY", "x"],
            "GROUP BY must define an integer value or else no value at all",
        ),
        (
            ["hostname", "LIKE"],
            "LIKE and UNLIKE require a non-empty, regular expression value",
        ),
        (["hostname", "LIKE", "["], "is not a valid regular expression"),
        (
            ["hostname", "NEAR", "x"],
            "operator must be one of the following UNIQUE, CLUSTER, GROUP_BY, LIKE, MAX_PER or "
            "UNLIKE",
        ),
    ],
)
def test_a_malformed_constraint_is_refused_in_marathons_words(constraint: Any, error: str) -> None:
    app = {"id": "/a", "cmd": "true", "constraints": [["rack", "UNIQUE"], constraint]}
    with pytest.raises(ApiError) as caught:
        app_definitions.complete(app)
    assert caught.value.body["details"] == [{"path": "/constraints(1)", "errors": [error]}]


def test_attributes_have_the_format_of_a_mesos_agent() -> None:
    assert attributes_of("rack:r1; @zone:a:b;") == {"rack": "r1", "@zone": "a:b"}
    assert attributes_of("") == {}


@pytest.mark.parametrize("setting", ["rack", "rack:", ":x", "a:b;rack"])
def test_malformed_attributes_are_refused(setting: str) -> None:
    with pytest.raises(BadRequest, match="FOB_ATTRIBUTES"):
        attributes_of(setting)


def test_a_task_whose_constraint_cannot_be_met_waits_and_the_queue_says_why(
    start_engine: Callable[..., live.Engine],
) -> None:
    engine = start_engine(FOB_ATTRIBUTES="rack:r1")
    engine.run("/met", FOREVER, constraints=[["rack", "CLUSTER", "r1"]])
    engine.running("/met")
    engine.run("/a", FOREVER, constraints=[["rack", "CLUSTER", "r2"]])
    (item,) = live.until(lambda: engine.get("/v2/queue")["queue"], "an app that waits")
    declined = [
        each["reason"]
        for each in item["processedOffersSummary"]["rejectSummaryLastOffers"]
        if each["declined"]
    ]
    assert declined == ["UnfulfilledConstraint"]
    offer = item["lastUnusedOffers"][0]["offer"]
    reasons = {each["name"]: each["text"] for each in offer["attributes"]}
    assert reasons == {"rack": "r1", "lacking": "requires rack r2; this machine has r1"}


def test_tasks_of_an_older_version_do_not_count(engine: live.Engine) -> None:
    engine.run("/a", FOREVER, constraints=[["hostname", "UNIQUE"]])
    (before,) = engine.running("/a")
    engine.ask("PUT", "/v2/apps//a", json={"env": {"NEW": "1"}})
    live.until(lambda: not engine.get("/v2/deployments"), "the end of the change")
    assert engine.running("/a")[0]["id"] != before["id"]


def test_an_app_for_a_role_that_the_machine_lacks_waits(engine: live.Engine) -> None:
    engine.run("/a", FOREVER, acceptedResourceRoles=["gpu"])
    (item,) = live.until(lambda: engine.get("/v2/queue")["queue"], "an app that waits")
    assert item["lastUnusedOffers"][0]["reason"] == ["UnfulfilledRole"]
    engine.ask("PUT", "/v2/apps//a?force=true", json={"acceptedResourceRoles": ["slave_public"]})
    engine.running("/a")
