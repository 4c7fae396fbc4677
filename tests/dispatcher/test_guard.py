import pytest

from fob.dispatcher.guard import Guard, is_loopback, is_unspecified
from fob.errors import Forbidden, Unauthorized

LOCAL = Guard("127.0.0.1", "")
OPEN = Guard("0.0.0.0", "")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9999", "localhost:9999", "LOCALHOST", "[::1]:9999", "localhost.:9999"]
)
def test_the_machines_own_names_are_accepted(host):
    LOCAL.check_origin({"Host": host})


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:9999", "127.0.0.1.evil.example", "[::1", "10.0.0.1"]
)
def test_a_foreign_host_is_refused(host):
    with pytest.raises(Forbidden):
        LOCAL.check_origin({"Host": host})


def test_the_bound_address_is_accepted():
    Guard("10.0.0.5", "").check_origin({"Host": "10.0.0.5:9999"})


@pytest.mark.parametrize("guard", [OPEN, Guard("::", "")])
def test_bound_to_every_address_any_host_is_accepted(guard):
    guard.check_origin({"Host": "fob.example:9999"})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://[::1"},
        {"Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:9999"},
    ],
)
@pytest.mark.parametrize("guard", [LOCAL, OPEN])
def test_a_foreign_page_is_refused(guard, headers):
    with pytest.raises(Forbidden):
        guard.check_origin({"Host": "localhost:9999", **headers})


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:9999", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://LOCALHOST:9999"},
    ],
)
@pytest.mark.parametrize("guard", [LOCAL, OPEN])
def test_a_page_of_the_dispatcher_is_accepted(guard, headers):
    guard.check_origin({"Host": "localhost:9999", **headers})


@pytest.mark.parametrize("value", ["Bearer s3cret", "bearer s3cret", "Bearer  s3cret "])
def test_the_right_token_passes(value):
    Guard("127.0.0.1", "s3cret").check_token({"Authorization": value})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer other"},
        {"Authorization": "Basic s3cret"},
        {"Authorization": "s3cret"},
        {"Authorization": "Bearer \xe9\u20ac"},
    ],
)
def test_the_error_for_a_wrong_or_missing_token_says_what_to_send(headers):
    with pytest.raises(Unauthorized) as caught:
        Guard("127.0.0.1", "s3cret").check_token(headers)
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


def test_without_a_token_none_is_required():
    LOCAL.check_token({})


def test_only_this_machine_reaches_a_loopback_address():
    assert all(map(is_loopback, ["127.0.0.1", "::1", "localhost", "127.8.8.8"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "example"]))


def test_an_unspecified_address_is_every_address_of_the_machine():
    assert all(map(is_unspecified, ["0.0.0.0", "::"]))
    assert not any(map(is_unspecified, ["127.0.0.1", "::1", "localhost", ""]))
