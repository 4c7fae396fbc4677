"""Environments as tasks get them. The installer is a fake `uv` that does what names ask for."""

import asyncio
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_uv import FakeUv

import live
from fob.engine.runtime import environments, installer
from fob.engine.runtime.environments import PackageSet, package_set_of

LIST = 'ls "$FOB_SITE_PACKAGES"; exec sleep 1000'


@pytest.fixture
def uv(tmp_path: Path) -> FakeUv:
    return FakeUv(tmp_path / "bin")


@pytest.fixture
def start(start_engine: Callable[..., live.Engine], uv: FakeUv) -> Callable[..., live.Engine]:
    return lambda **settings: start_engine(**{"PATH": uv.path} | settings)


@pytest.fixture
def engine(start: Callable[..., live.Engine]) -> live.Engine:
    return start()


def run(engine: live.Engine, app_id: str, *requirements: str, **more: Any) -> None:
    env = {"FOB_REQUIREMENTS": "\n".join(requirements)} | more.pop("env", {})
    engine.run(app_id, more.pop("cmd", LIST), env=env, **more)


def file_of(engine: live.Engine, task_id: str, name: str) -> str:
    app_name, _, number = task_id.rpartition(".")
    path = engine.home / "engine" / "tasks" / app_name / number / name
    return path.read_text() if path.exists() else ""


def folders(engine: live.Engine) -> list[Path]:
    return sorted((engine.home / "engine" / "environments").iterdir())


def remove(engine: live.Engine, app_id: str) -> None:
    answer = engine.ask("DELETE", f"/v2/apps{app_id}?force=true")
    assert answer.status_code == 200, answer.text


def staged(engine: live.Engine, app_id: str = "/a") -> Any:
    def task() -> Any:
        tasks = engine.app(app_id)["tasks"]
        return (
            tasks and "environment_begun" in file_of(engine, tasks[0]["id"], "timeline") and tasks
        )

    return live.until(task, "a staged task")[0]


def failure_of(engine: live.Engine, app_id: str = "/a") -> Any:
    return live.until(lambda: engine.app(app_id).get("lastTaskFailure"), "a failure")


def test_a_task_finds_its_packages(engine: live.Engine) -> None:
    run(engine, "/a", "one", "two")
    task = engine.running("/a")[0]
    printed = live.until(lambda: file_of(engine, task["id"], "stdout"))
    assert printed.split() == ["one.d", "one.link", "one.py", "two.d", "two.link", "two.py"]


def test_a_task_is_staged_while_its_packages_are_installed(engine: live.Engine, uv: FakeUv) -> None:
    gate = uv.gate("gated")
    run(engine, "/a", "first", "gated")
    task = staged(engine)
    assert task["state"] == "TASK_STAGING"
    assert task["startedAt"] is None
    live.until(lambda: "Installing gated\n" in file_of(engine, task["id"], "stderr"))
    gate.open()
    assert engine.running("/a")[0]["id"] == task["id"]
    marks = [line.split()[2] for line in file_of(engine, task["id"], "timeline").splitlines()]
    assert marks == ["placed", "environment_begun", "environment_ready", "spawned"]


def test_tasks_that_start_together_share_one_installation(engine: live.Engine, uv: FakeUv) -> None:
    gate = uv.gate("gated")
    run(engine, "/a", "gated", "one", instances=3)
    staged(engine)
    run(engine, "/b", "one", "gated", "one")
    second = staged(engine, "/b")
    live.until(lambda: "Installing gated" in file_of(engine, second["id"], "stderr"))
    gate.open()
    engine.running("/a", 3)
    engine.running("/b")
    assert uv.runs() == 1
    assert len(folders(engine)) == 1


def test_an_existing_environment_is_not_installed_again(
    start: Callable[..., live.Engine], uv: FakeUv
) -> None:
    first = start()
    run(first, "/a", "one")
    first.running("/a")
    run(first, "/b", "one")
    first.running("/b")
    first.stop()
    second = start()
    second.running("/a")
    assert uv.runs() == 1


def test_two_environments_are_built_at_a_time(engine: live.Engine, uv: FakeUv) -> None:
    gates = [uv.gate(f"gated{number}") for number in range(3)]
    for number in range(3):
        run(engine, f"/a{number}", f"gated{number}")
    live.until(lambda: uv.runs() == 2)
    staged(engine, "/a2")
    assert uv.runs("gated2") == 0
    gates[0].open()
    live.until(lambda: uv.runs("gated2"))
    for gate in gates[1:]:
        gate.open()
    for number in range(3):
        engine.running(f"/a{number}")


def test_a_failed_installation_is_reported_with_the_installers_message(engine: live.Engine) -> None:
    run(engine, "/a", "fails==7")
    failure = failure_of(engine)
    assert failure["state"] == "TASK_FAILED"
    assert failure["message"] == (
        "Its dependencies cannot be installed: uv exited with status 2: no solution found for"
        " fails==7\nInstalling fails==7\nno solution found for fails==7"
    )
    assert folders(engine) == []


def test_a_failed_installation_suspends_its_app_until_it_is_restarted(
    engine: live.Engine, uv: FakeUv
) -> None:
    run(engine, "/a", "fails")
    failure_of(engine)
    live.until(lambda: engine.get("/v2/deployments") == [])
    assert engine.get("/v2/queue")["queue"] == []
    assert engine.app("/a")["tasks"] == []
    assert uv.runs() == 1
    assert engine.ask("POST", "/v2/apps/a/restart").status_code == 200
    live.until(lambda: uv.runs() == 2)


def test_an_installation_has_a_time_limit(start: Callable[..., live.Engine]) -> None:
    engine = start(FOB_BUILD_SECONDS="0.5")
    run(engine, "/a", "hangs")
    message = failure_of(engine)["message"]
    assert "cannot be installed: it took longer than 0.5 seconds: Installing hangs" in message
    assert folders(engine) == []


def test_an_installation_has_a_size_limit(start: Callable[..., live.Engine]) -> None:
    engine = start(FOB_BUILD_MIB="2")
    run(engine, "/a", "grows")
    assert "it takes 2.9 MiB of disk; the limit is 2:" in failure_of(engine)["message"]
    assert folders(engine) == []


def test_an_engine_that_dies_leaves_no_incomplete_environment(
    start: Callable[..., live.Engine], uv: FakeUv
) -> None:
    first = start()
    run(first, "/a", "one", "hangs")
    task = staged(first)
    live.until(lambda: uv.runs() == 1)
    first.kill()
    incomplete = folders(first)[0]
    assert ".building-" in incomplete.name
    second = start()
    live.until(lambda: uv.runs() == 2, "another try")
    live.until(
        lambda: not incomplete.exists() and live.processes_of(incomplete) == [], "clearing up"
    )
    assert staged(second)["ports"] == task["ports"]


def test_an_engine_that_stops_ends_the_installer(
    start: Callable[..., live.Engine], uv: FakeUv
) -> None:
    first = start()
    run(first, "/a", "hangs")
    live.until(lambda: uv.runs() == 1)
    assert first.stop() == 0
    assert folders(first) == []
    assert live.processes_of(first.home) == []


def test_removing_an_app_cancels_its_installation(engine: live.Engine, uv: FakeUv) -> None:
    run(engine, "/a", "hangs")
    live.until(lambda: uv.runs() == 1)
    remove(engine, "/a")
    live.until(lambda: folders(engine) == [])
    assert engine.get("/v2/deployments") == []
    descriptors = live.descriptors_of(engine.process.pid)
    run(engine, "/a", "hangs", "one")
    live.until(lambda: uv.runs() == 2)
    remove(engine, "/a")
    live.until(lambda: live.descriptors_of(engine.process.pid) <= descriptors)


def test_an_installation_goes_on_while_another_app_waits_for_it(
    engine: live.Engine, uv: FakeUv
) -> None:
    gate = uv.gate("gated")
    run(engine, "/a", "gated")
    run(engine, "/b", "gated")
    staged(engine, "/b")
    live.until(lambda: uv.runs() == 1)
    remove(engine, "/a")
    gate.open()
    engine.running("/b")
    assert uv.runs() == 1


def test_an_environment_is_read_only_and_complete(engine: live.Engine) -> None:
    run(engine, "/a", "one")
    engine.running("/a")
    folder = folders(engine)[0]
    found = [folder, *folder.rglob("*")]
    assert {path.name for path in found[1:]} == {"one.py", "one.d", "data", "one.link"}
    modes = [stat.S_IMODE(path.stat().st_mode) for path in found]
    assert [f"{mode:o}" for mode in modes if mode & 0o222] == []


def test_unused_environments_are_removed_except_the_last_few(
    start: Callable[..., live.Engine], uv: FakeUv
) -> None:
    engine = start()
    run(engine, "/used", "used")
    for number in range(environments.MAX_UNUSED + 2):
        run(engine, f"/a{number}", f"p{number}")
        engine.running(f"/a{number}")
    for number in range(environments.MAX_UNUSED + 2):
        remove(engine, f"/a{number}")
    live.until(lambda: len(folders(engine)) == environments.MAX_UNUSED + 1)
    run(engine, "/again", "p0")  # the oldest went
    engine.running("/again")
    assert uv.runs("p0") == 2
    run(engine, "/still", f"p{environments.MAX_UNUSED + 1}")
    engine.running("/still")
    run(engine, "/used2", "used")
    engine.running("/used2")
    assert uv.runs("used") == 1
    assert uv.runs(f"p{environments.MAX_UNUSED + 1}") == 1


def test_another_python_than_the_engines_is_refused(engine: live.Engine, uv: FakeUv) -> None:
    run(engine, "/a", "one", env={"FOB_REQUIRES_PYTHON": ">=3.99"})
    assert failure_of(engine)["message"].startswith("It requires Python >=3.99, and this engine")
    run(engine, "/b", "one", env={"FOB_REQUIRES_PYTHON": "nonsense"})
    assert failure_of(engine, "/b")["message"].startswith("It requires Python nonsense, and")
    assert uv.runs() == 0
    assert engine.get("/v2/queue")["queue"] == []


def test_an_app_that_needs_only_a_python_needs_no_installer(
    engine: live.Engine, uv: FakeUv
) -> None:
    run(engine, "/a", env={"FOB_REQUIRES_PYTHON": ">=3.9"})
    engine.running("/a")
    assert uv.runs() == 0


def test_the_installer_gets_the_settings_of_the_machine_and_none_of_fob(
    start: Callable[..., live.Engine],
) -> None:
    engine = start(
        UV_INDEX_URL="http://index", PIP_X="1", HTTPS_PROXY="http://proxy", FOB_TOKEN="s3cret",
        AWS_SECRET_ACCESS_KEY="s3cret",
    )  # fmt: skip
    run(engine, "/a", "dumps", env={"MINE": "s3cret"})
    engine.running("/a")
    lines = (folders(engine)[0] / "environment").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert {"UV_INDEX_URL", "PIP_X", "HTTPS_PROXY", "HOME"} <= set(found)
    assert [name for name in found if name.startswith("FOB_")] == ["FOB_BUILDING"]
    assert "s3cret" not in found.values()


def test_the_order_of_requirements_does_not_matter() -> None:
    def key(text: str) -> str:
        packages = package_set_of({"env": {"FOB_REQUIREMENTS": text}})
        assert packages is not None
        return packages.key

    assert key("a\nb") == key("b\n\na\nb ") != key("a")


@pytest.mark.parametrize(
    "env", [{}, {"FOB_REQUIREMENTS": "a", "FOB_SITE_PACKAGES": "/somewhere"}], ids=["none", "own"]
)
def test_an_app_without_requirements_gets_no_environment(env: dict[str, str]) -> None:
    assert package_set_of({"env": env}) is None


def test_without_uv_and_pip_the_reason_is_clear(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("site.getsitepackages", lambda prefixes: [])
    limits = installer.InstallLimits(10, 10**6)

    async def build() -> Path:
        none = installer.Installer({"PATH": "/nowhere"}, limits)
        return await environments.Environments(tmp_path / "e", none).build(
            PackageSet(("a",), ""), lambda data: None
        )

    with pytest.raises(environments.EnvironmentFailed, match=r"neither uv .* nor pip"):
        asyncio.run(build())
    assert list((tmp_path / "e").iterdir()) == []
