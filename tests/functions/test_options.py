import pytest

from fob.errors import BadRequest
from fob.functions import options
from fob.functions.options import Options


def query(**values: str) -> Options:
    return options.from_query({key.replace("__", "."): [v] for key, v in values.items()})


def test_no_query_gives_the_defaults():
    assert query() == Options()
    assert (Options().cpus, Options().mem, Options().instances) == (0.1, None, 1)


def test_every_key_is_read():
    assert query(
        entry="go", name="my fn", cpus="0.5", mem="128", instances="0", timeout="2.5",
        concurrency="4", env__KEY="value", env___x="", cors="https://a.example, http://b:1",
    ) == Options(
        "go", "my fn", 0.5, 128.0, 0, 2.5, 4, {"KEY": "value", "_x": ""},
        "https://a.example,http://b:1",
    )  # fmt: skip


def test_an_unknown_key_is_refused_with_the_known_ones():
    with pytest.raises(BadRequest, match=r"cpu='1' is not known; known are entry, name, cpus, mem"):
        query(cpu="1")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("cpus", v) for v in ("0", "-1", "nan", "inf", "1e999", "many", "", "2000")],
        *[("mem", v) for v in ("0", "0.5", "nan", "99999999999")],
        *[("instances", v) for v in ("-1", "1.5", "1001", "1e2", "\u0663", "9" * 5000, "")],
        *[("timeout", v) for v in ("0", "-1", "nan", "3601")],
        *[("concurrency", v) for v in ("0", "10001", "x")],
        *[("cors", v) for v in ("example.org", "https://a/b", "ftp://a", "https://a b")],
        *[("entry", v) for v in ("", "a..b", "1a", "a b", "a:", ":a", "a:b:c")],
        *[("name", v) for v in ("x" * 101, "a\nb", "\x00")],
    ],
)
def test_a_value_out_of_its_range_is_refused_by_name(key: str, value: str):
    with pytest.raises(BadRequest, match=key) as caught:
        query(**{key: value})
    assert caught.value.code == "bad_option"


@pytest.mark.parametrize(
    "name",
    [
        "", "1A", "A-B", "A.B", "FOB_TIMEOUT", "FOB_", "PORT", "PORT0", "PORTS", "PORT_HTTP",
        "HOST", "MESOS_TASK_ID", "MARATHON_APP_ID", "LD_PRELOAD", "PYTHONPATH", "PATH", "É",
    ],
)  # fmt: skip
def test_env_names_that_are_wrong_or_reserved_are_refused(name: str):
    with pytest.raises(BadRequest, match="env"):
        options.from_query({f"env.{name}": ["x"]})


def test_env_names_that_only_look_reserved_are_fine():
    assert query(env__HOSTNAME="a", env__PORTAL="b", env__ENV="c").env == {
        "HOSTNAME": "a",
        "PORTAL": "b",
        "ENV": "c",
    }


def test_the_value_of_a_refused_variable_is_not_shown():
    with pytest.raises(BadRequest) as caught:
        options.from_query({"env.PORT": ["secret"]})
    assert "secret" not in caught.value.message


def test_an_environment_over_the_limit_is_refused_with_the_numbers():
    with pytest.raises(BadRequest, match="65546 bytes; the limit is 65536"):
        options.from_query({"env.A": ["x" * 65545]})


def test_all_faults_are_reported_at_once():
    with pytest.raises(BadRequest) as caught:
        options.from_query({"cpus": ["x"], "mem": ["y"], "color": ["red"], "name": ["a", "b"]})
    assert len(caught.value.details) == 4


def test_a_change_takes_json_values():
    wanted = {"instances": 2, "cpus": 0.5, "name": "n", "env": {"A": "1", "B": None}}
    assert options.from_change(wanted) == wanted


@pytest.mark.parametrize(
    "body",
    [
        None, [], {}, "x", {"entry": "go"}, {"id": "x"}, {"instances": True}, {"instances": 1.0},
        {"cpus": True}, {"cpus": None}, {"cpus": []}, {"name": 3}, {"env": "x"}, {"env": {"A": 1}},
        {"env": {"PORT": "1"}}, {"env": {"A": "\ud800"}}, {"env": {"A": "x" * 70000}},
    ],
)  # fmt: skip
def test_an_invalid_change_is_refused(body: object):
    with pytest.raises(BadRequest):
        options.from_change(body)
