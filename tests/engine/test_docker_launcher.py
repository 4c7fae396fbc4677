"""Apps with an image, on a real Docker engine."""

import json
import signal
import socket
import time
from collections.abc import Iterator

import containers
import pytest
from containers import Start, app, failure, fetched, output, post, served

import docker_engine
import live

pytestmark = containers.needs_docker


@pytest.fixture
def start(docker: docker_engine.Engine, start_engine: Start) -> Iterator[Start]:
    yield from containers.starting(docker, start_engine)


@pytest.fixture
def engine(start: Start) -> live.Engine:
    return start()


HANDLES_SIGTERM = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', flush=True)))\n"
    "print('up', flush=True)\n"
    "time.sleep(1000)"
)
LEGACY = {"network": "BRIDGE", "portMappings": [{"containerPort": 8080, "hostPort": 0}]}


def test_an_app_on_the_bridge_is_served_on_a_port_of_the_host(
    engine: live.Engine, docker: docker_engine.Engine
) -> None:
    post(engine, served("/a", "8080", docker=LEGACY))
    (task,) = engine.running("/a")
    (port,) = task["ports"]
    found = fetched(port)
    assert found["PORT0"] == found["PORT"] == found["PORT_8080"] == found["PORTS"] == str(port)
    assert found["HOST"] == task["host"] == "127.0.0.1"
    assert found["MESOS_TASK_ID"] == task["id"]
    assert found["MESOS_SANDBOX"] == "/mnt/mesos/sandbox"
    assert found["MARATHON_APP_DOCKER_IMAGE"] == containers.IMAGE
    assert found["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    engine.ask("DELETE", "/v2/apps/a?force=true")
    live.until(lambda: docker.containers() == [], "the end of the container")


def test_an_app_in_the_newer_form_may_name_its_ports_and_fix_them(engine: live.Engine) -> None:
    port = containers.free_port()
    container = {"portMappings": [{"containerPort": 80, "hostPort": port, "name": "web"}]}
    bridge = [{"mode": "container/bridge"}]
    post(engine, served("/a", "80", container=container, docker={"network": None}, networks=bridge))
    (task,) = engine.running("/a")
    assert task["ports"] == [port]
    assert fetched(port)["PORT_WEB"] == str(port)


def test_an_app_on_the_hosts_network_binds_its_port_itself(engine: live.Engine) -> None:
    post(engine, served("/a", "$PORT0", ports=[0]))
    (task,) = engine.running("/a")
    assert fetched(task["ports"][0])["PORT0"] == str(task["ports"][0])


def test_an_image_in_mesos_form_is_served_too(engine: live.Engine) -> None:
    form = {"type": "MESOS", "docker": {"image": containers.IMAGE}}
    post(engine, app("/a", "import time; time.sleep(1000)", container=form))
    engine.running("/a")


def test_the_output_of_a_container_is_that_of_its_task(engine: live.Engine) -> None:
    program = "import os, sys, time; print('one'); print('two', file=sys.stderr, flush=True)"
    post(engine, app("/a", program + "; time.sleep(1000)", env={"PYTHONUNBUFFERED": "1"}))
    (task,) = engine.running("/a")
    live.until(lambda: output(engine, task) == "one\n", "its standard output")
    live.until(lambda: output(engine, task, "stderr") == "two\n", "its standard error")


def test_the_sandbox_is_the_tasks_folder_for_any_user(engine: live.Engine) -> None:
    program = "open('/mnt/mesos/sandbox/here', 'w').write('x'); import time; time.sleep(1000)"
    parameters = [{"key": "user", "value": "10001:10001"}]
    post(engine, app("/a", program, docker={"parameters": parameters}))
    engine.running("/a")
    folder = engine.home / "engine" / "tasks" / "a"
    live.until(lambda: list(folder.glob("*/sandbox/here")), "the file")


def test_a_command_is_for_a_shell_and_arguments_for_the_image(engine: live.Engine) -> None:
    post(engine, app("/shell", cmd="echo $((6 * 7)); sleep 1000"))
    (task,) = engine.running("/shell")
    live.until(lambda: output(engine, task) == "42\n", "the shell's output")
    parameters = [{"key": "entrypoint", "value": "python3"}]
    program = ["-c", "print('from args', flush=True); import time; time.sleep(1000)"]
    post(engine, app("/args", args=program, docker={"parameters": parameters}))
    (task,) = engine.running("/args")
    live.until(lambda: output(engine, task) == "from args\n", "the program's output")


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('bad')", "Command exited with status 1\nbad"),
        ("x = bytearray(10**9)", "Container memory limit exceeded: 32 MiB; it exited with status"),
    ],
)
def test_a_failure_says_why(engine: live.Engine, program: str, reason: str) -> None:
    post(engine, app("/a", program, backoffSeconds=1000))
    failed = failure(engine, "/a")
    assert failed["state"] == "TASK_FAILED"
    assert failed["message"].startswith(reason)


def test_a_program_missing_from_the_image_fails_with_dockers_message(engine: live.Engine) -> None:
    post(engine, app("/a", args=["no-such-program"], backoffSeconds=1000))
    message = failure(engine, "/a")["message"]
    assert message.startswith("the container could not be started: ")
    assert "no-such-program" in message
    assert "not found" in message


def test_a_port_that_docker_cannot_bind_is_a_failure_with_dockers_message(
    engine: live.Engine,
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as thief:  # the engine does not check UDP
        thief.bind(("127.0.0.1", 0))
        port = thief.getsockname()[1]
        mapping = {"containerPort": 80, "hostPort": port, "protocol": "udp"}
        bridge = {"network": "BRIDGE", "portMappings": [mapping]}
        post(engine, app("/a", args=["sleep", "1000"], docker=bridge, backoffSeconds=0.1))
        assert "address already in use" in failure(engine, "/a")["message"]
    engine.running("/a")


def test_limits_are_dockers(engine: live.Engine, docker: docker_engine.Engine) -> None:
    post(engine, app("/a", "import time; time.sleep(1000)", mem=64, cpus=0.25))
    engine.running("/a")
    (name,) = docker.containers()
    template = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.CpuQuota}}"
    assert docker.inspect(name, template) == f"{64 * 2**20} {64 * 2**20} 25000"


def test_a_container_that_fails_its_health_check_is_replaced(
    engine: live.Engine, docker: docker_engine.Engine
) -> None:
    often = {"intervalSeconds": 1, "timeoutSeconds": 1, "maxConsecutiveFailures": 2}
    check = {"protocol": "HTTP", "path": "/", "portIndex": 0} | often
    wanted = served("/a", "8080", docker=LEGACY, healthChecks=[check], backoffSeconds=0.1)
    del wanted["ports"]
    post(engine, wanted)

    def healthy() -> list[str]:
        tasks = [t for t in engine.app("/a")["tasks"] if t.get("healthCheckResults")]
        return [task["id"] for task in tasks if task["healthCheckResults"][0]["alive"]]

    (first,) = live.until(healthy, "its health")
    docker.docker("pause", *docker.containers())
    failed = failure(engine, "/a")
    assert failed["taskId"] == first
    assert "health check failed 2 times in a row: no response within 1 seconds" in failed["message"]
    live.until(lambda: set(healthy()) - {first}, "its replacement's health")


def test_a_stop_is_sigterm_first(engine: live.Engine) -> None:
    post(engine, app("/a", HANDLES_SIGTERM, taskKillGracePeriodSeconds=1000))
    (task,) = engine.running("/a")
    live.until(lambda: output(engine, task) == "up\n", "its first output")
    engine.ask("PUT", "/v2/apps/a", json={"instances": 0})
    live.until(lambda: not engine.app("/a")["tasks"], "its end")
    assert output(engine, task) == "up\nbye\n"
    assert "lastTaskFailure" not in engine.app("/a")


def test_a_container_that_ignores_sigterm_is_killed_after_the_grace_period(
    engine: live.Engine, docker: docker_engine.Engine
) -> None:
    # PID 1 has no default action for SIGTERM
    post(engine, app("/a", "import time; time.sleep(1000)", taskKillGracePeriodSeconds=0.1))
    engine.running("/a")
    engine.ask("DELETE", "/v2/apps/a?force=true")
    live.until(lambda: docker.containers() == [], "the end of the container")


def test_the_next_engine_adopts_the_containers_of_one_that_was_killed(
    start: Start, docker: docker_engine.Engine
) -> None:
    engine = start()
    program = (
        "import itertools, time\n"
        "for number in itertools.count():\n"
        "    print(number, flush=True)\n"
        "    time.sleep(0.05)"
    )
    post(engine, app("/a", program))
    (task,) = engine.running("/a")
    live.until(lambda: output(engine, task), "its first output")
    engine.kill()
    (name,) = docker.containers()
    started = docker.inspect(name, "{{.State.StartedAt}}")
    lines = len(docker.docker("logs", name).split())
    live.until(lambda: len(docker.docker("logs", name).split()) > lines + 3, "output")
    engine = start()
    (again,) = engine.running("/a")
    assert again["id"] == task["id"]
    assert docker.inspect(name, "{{.State.StartedAt}}") == started
    live.until(lambda: len(output(engine, task).split()) > lines + 6, "what it printed since")
    numbers = [int(number) for number in output(engine, task).split()]
    assert numbers == list(range(len(numbers)))


def test_the_exit_of_a_container_that_ended_without_an_engine_is_known(
    start: Start, docker: docker_engine.Engine
) -> None:
    engine = start()
    ends = "import signal; signal.signal(10, lambda *_: exit(7)); "
    program = ends + "print('up', flush=True); signal.pause()"
    post(engine, app("/a", program, backoffSeconds=1000))
    (task,) = engine.running("/a")
    live.until(lambda: output(engine, task) == "up\n", "its first output")
    engine.kill()
    docker.docker("kill", "--signal=USR1", *docker.containers())
    docker.docker("wait", *docker.containers())
    assert "exited with status 7" in failure(start(), "/a")["message"]


def test_only_orphans_of_the_same_engine_are_removed(
    start: Start, docker: docker_engine.Engine
) -> None:
    engine = start()
    post(engine, app("/a", "import time; time.sleep(1000)"))
    engine.running("/a")
    (name,) = docker.containers()
    mine = docker.inspect(name, '{{index .Config.Labels "fob.engine"}}')
    engine.kill()
    for label, owner in (("orphan", mine), ("foreign", "another engine")):
        options = ["--detach", f"--name={label}", f"--label=fob.engine={owner}"]
        docker.docker("run", *options, containers.IMAGE, "sleep", "1000")
    engine = start()
    engine.running("/a")
    live.until(lambda: set(docker.containers()) == {name, "foreign"}, "the orphan's end")
    docker.docker("rm", "--force", "foreign")


def test_without_docker_an_app_waits_and_says_why(
    start: Start, docker: docker_engine.Engine, home: live.Path
) -> None:
    socket = home.parent / "docker.sock"
    engine = start(FOB_DOCKER_HOST=f"unix://{socket}")
    post(engine, app("/a", "import time; time.sleep(1000)"))

    def offers() -> str:
        (item,) = engine.get("/v2/queue")["queue"]
        (rejected,) = item["lastUnusedOffers"][0]["reason"]
        assert rejected == "UnfulfilledConstraint"
        return json.dumps(item["lastUnusedOffers"])

    reason = f"none is reachable at unix://{socket}: No such file"
    live.until(lambda: reason in offers(), "the reason")
    socket.symlink_to(docker.socket)
    engine.running("/a")
    assert engine.get("/v2/queue")["queue"] == []


@pytest.mark.parametrize("end", ["end", "crash"])
def test_containers_are_started_again_after_a_restart_of_docker(
    start: Start, docker: docker_engine.Engine, end: str
) -> None:
    engine = start()
    post(engine, app("/a", HANDLES_SIGTERM, backoffSeconds=0.1))
    (task,) = engine.running("/a")
    live.until(lambda: output(engine, task) == "up\n", "its first output")
    getattr(docker, end)()
    try:
        assert engine.ask("GET", "/ping").status_code == 200
    finally:
        docker.start_again()
    assert failure(engine, "/a")["taskId"] == task["id"]
    (again,) = engine.running("/a")
    assert again["id"] != task["id"]


def test_an_engine_stops_although_docker_hangs_and_the_next_one_removes_orphans(
    start: Start, docker: docker_engine.Engine
) -> None:
    engine = start()
    post(engine, app("/a", "import time; time.sleep(1000)"))
    engine.running("/a")
    (name,) = docker.containers()
    docker.send(signal.SIGSTOP)
    try:
        assert engine.stop() == 0
    finally:
        docker.send(signal.SIGCONT)
    engine = start()
    engine.running("/a")
    live.until(lambda: name not in docker.containers(), "the end of the container")


def test_the_engines_api_responds_while_docker_hangs(
    start: Start, docker: docker_engine.Engine
) -> None:
    engine = start()
    post(engine, app("/a", "import time; time.sleep(1000)", taskKillGracePeriodSeconds=0.1))
    engine.running("/a")
    docker.send(signal.SIGSTOP)
    try:
        for number in range(3):
            post(engine, app(f"/b{number}", "import time; time.sleep(1000)"))
        engine.ask("DELETE", "/v2/apps/a?force=true")
        began = time.monotonic()
        engine.get("/v2/apps")
        assert time.monotonic() - began < 5
    finally:
        docker.send(signal.SIGCONT)
    for number in range(3):
        engine.running(f"/b{number}")


def test_a_container_that_ended_with_docker_before_its_signal_is_removed(
    engine: live.Engine, docker: docker_engine.Engine
) -> None:
    post(engine, app("/a", HANDLES_SIGTERM, taskKillGracePeriodSeconds=60))
    engine.running("/a")
    docker.end()
    engine.ask("DELETE", "/v2/apps/a?force=true")
    docker.start_again()
    live.until(lambda: not engine.get("/v2/deployments"), "the end of the task")
    assert docker.containers() == []
