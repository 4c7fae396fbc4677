import subprocess
from dataclasses import replace
from pathlib import Path

from fob.engine.definitions import app_definitions
from fob.engine.runtime import task_environment
from fob.engine.states import TaskState
from fob.engine.store.records import TaskRecord

RECORD = TaskRecord(
    id="a_b.1",
    app_id="/a/b",
    version="2016-04-02T00:00:00.000Z",
    state=TaskState.STAGING,
    ports=(20001,),
    cpus=0.1,
    mem=64,
    staged_at="",
)


def environment_of(record: TaskRecord = RECORD, **more: object) -> dict[str, str]:
    definition = app_definitions.complete({"id": "/a/b", "cmd": "true", **more})
    return task_environment.for_task(record, definition, "127.0.0.1", Path("/box"))


def test_a_task_gets_marathons_variables() -> None:
    given = environment_of(cpus=0.1, mem=64, labels={"my-key": "v"})
    expected = {
        "HOST": "127.0.0.1",
        "PORT": "20001",
        "PORT0": "20001",
        "PORTS": "20001",
        "MESOS_TASK_ID": "a_b.1",
        "MESOS_SANDBOX": "/box",
        "MARATHON_APP_ID": "/a/b",
        "MARATHON_APP_VERSION": "2016-04-02T00:00:00.000Z",
        "MARATHON_APP_RESOURCE_CPUS": "0.1",
        "MARATHON_APP_RESOURCE_MEM": "64.0",
        "MARATHON_APP_LABELS": "MY_KEY",
        "MARATHON_APP_LABEL_MY_KEY": "v",
    }
    assert expected.items() <= given.items()


def test_named_and_numbered_ports_have_variables() -> None:
    ports = [{"port": 80, "name": "http"}, {"port": 0}]
    given = environment_of(replace(RECORD, ports=(20001, 20002)), portDefinitions=ports)
    assert (given["PORT_80"], given["PORT_HTTP"], given["PORT1"]) == ("20001", "20001", "20002")
    assert given["PORTS"] == "20001,20002"


def test_the_apps_env_takes_precedence() -> None:
    assert environment_of(env={"PORT0": "8080", "HOME": "/x"})["PORT0"] == "8080"


def test_no_variable_of_the_engine_leaks() -> None:
    assert not {name for name in environment_of() if name.startswith("FOB_")}
    assert "MAKEFLAGS" not in environment_of()


def test_python3_on_the_path_is_a_real_interpreter_that_works() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", "python3 -I -S -c 'print(1)'"],
        env={"PATH": task_environment.python_path()},
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "1\n"
