import socket

import pytest

from fob.engine.definitions import app_definitions
from fob.engine.runtime.resources import (
    NoRoom,
    Resources,
    bind,
    check_placement,
    promised_cpus,
)


def app(**more: object) -> app_definitions.Definition:
    return app_definitions.complete({"id": "/a", "cmd": "true", **more})


def test_a_task_that_does_not_fit_is_refused_with_reason_and_numbers() -> None:
    resources = Resources(cpus=1, mem=100)
    resources.take("one", app(cpus=0.8, mem=10))
    with pytest.raises(NoRoom) as caught:
        resources.take("two", app(cpus=0.3, mem=10))
    assert caught.value.reason == "InsufficientCpus"
    assert "needs 0.3 cpus; 0.2 of 1 cpus are free" in caught.value.message
    with pytest.raises(NoRoom) as caught:
        resources.take("two", app(cpus=0.1, mem=91))
    assert caught.value.reason == "InsufficientMemory"


def test_a_share_that_is_given_back_can_be_taken_again() -> None:
    resources = Resources(cpus=1, mem=100)
    for _ in range(1000):
        resources.take("one", app(cpus=1, mem=100))
        resources.give_back("one")
    assert resources.free() == (pytest.approx(1), pytest.approx(100))


def test_ten_tenths_fit_into_one() -> None:
    resources = Resources(cpus=1, mem=100)
    for number in range(10):
        resources.take(str(number), app(cpus=0.1, mem=10))


def test_giving_back_twice_counts_once() -> None:
    resources = Resources(cpus=1, mem=100)
    resources.take("one", app(cpus=0.5, mem=50))
    resources.give_back("one")
    resources.give_back("one")
    assert resources.free() == (1, 100)


def test_a_setting_takes_precedence_over_the_machine() -> None:
    assert promised_cpus(3) == 3
    assert promised_cpus(0) >= 32


def test_a_preferred_port_is_used_when_it_is_free() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", 0, [port]) as second:
            assert second.getsockname()[1] != port
    with bind("127.0.0.1", 0, [port]) as again:
        assert again.getsockname()[1] == port


def test_a_fixed_port_that_is_in_use_is_insufficient_ports() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(NoRoom) as caught:
        bind("127.0.0.1", taken.getsockname()[1])
    assert caught.value.reason == "InsufficientPorts"


def test_a_bound_socket_accepts_connections_at_once() -> None:
    with bind("127.0.0.1", 0) as sock, socket.create_connection(sock.getsockname()):
        pass


@pytest.mark.parametrize(
    ("more", "running", "reason"),
    [
        ({"acceptedResourceRoles": ["gpu"]}, 0, "UnfulfilledRole"),
        ({"constraints": [["hostname", "UNIQUE"]]}, 1, "UnfulfilledConstraint"),
    ],
)
def test_roles_and_constraints_that_one_machine_cannot_meet_are_refused(
    more: dict[str, object], running: int, reason: str
) -> None:
    with pytest.raises(NoRoom) as caught:
        check_placement(app(**more), {"hostname": "here"}, running)
    assert caught.value.reason == reason


@pytest.mark.parametrize("roles", [["*"], ["slave_public"], ["gpu", "*"]])
def test_this_machine_is_private_and_public_agent(roles: list[str]) -> None:
    check_placement(app(acceptedResourceRoles=roles), {"hostname": "here"}, 0)
