"""Apps and their tasks with the DC/OS command line."""

from dcos import Dcos, tries

import live


@tries("about", "prints `/v2/info`")
def test_about(dcos: Dcos) -> None:
    about = dcos.good("about").json()
    assert about["name"] == "marathon"
    assert dcos.engine.url.endswith(about["leader"])


@tries("ping", '`Marathon ping response[1x]: "pong"`, with `--once`', ("0.6.1",))
def test_ping(dcos: Dcos) -> None:
    told = dcos.good("ping", "--once").out
    assert told.startswith("Marathon ping response[1x]: ")
    assert "pong" in told


@tries("app add", "the app runs; a second time status 1, `Application '/a' already exists`")
def test_app_add(dcos: Dcos) -> None:
    added = dcos.good("app", "add", given=dcos.app())
    if dcos.version != "0.4.0":  # which prints nothing
        assert added.out.startswith("Created deployment ")
    dcos.engine.running("/a")
    again = dcos("app", "add", given=dcos.app())
    assert (again.status, again.err) == (1, "Application '/a' already exists")


@tries("app list", "a row for each app; `start` as the deployment of one that waits")
def test_app_list(dcos: Dcos) -> None:
    dcos.start("/a")
    dcos.stuck("/b")
    one, other = dcos.good("app", "list").rows()
    assert (one["ID"], one["TASKS"], one["DEPLOYMENT"]) == ("/a", "1/1", "---")
    assert (other["ID"], other["TASKS"], other["DEPLOYMENT"]) == ("/b", "0/1", "start")
    if dcos.version != "0.4.0":
        assert (one["WAITING"], other["WAITING"]) == ("False", "True")


@tries("app show", "the app as JSON; one that is not there is status 1 and Marathon's words")
def test_app_show(dcos: Dcos) -> None:
    dcos.start("/a", labels={"kind": "x"})
    shown = dcos.good("app", "show", "/a").json()
    assert (shown["id"], shown["labels"], shown["tasksRunning"]) == ("/a", {"kind": "x"}, 1)
    assert shown["tasks"][0]["ports"]
    wrong = dcos("app", "show", "/b")
    assert (wrong.status, "App '/b' does not exist" in wrong.err) == (1, True)


@tries("app update", "by `key=value` and by JSON on standard input; tasks are replaced")
def test_app_update(dcos: Dcos) -> None:
    dcos.start()
    old = dcos.engine.running("/a")[0]["id"]
    updated = dcos.good("app", "update", "/a", "mem=17", "instances=2")
    assert updated.out.startswith("Created deployment ")
    assert old not in [task["id"] for task in dcos.engine.running("/a", 2)]
    dcos.until_done()
    dcos.good("app", "update", "/a", given={"env": {"A": "b"}})
    app = dcos.engine.app("/a")
    assert (app["mem"], app["instances"], app["env"]) == (17, 2, {"A": "b"})


@tries("app version list", "newest first; `--max-count`")
def test_app_version_list(dcos: Dcos) -> None:
    dcos.start()
    dcos.good("app", "update", "--force", "/a", "mem=17")
    versions = dcos.good("app", "version", "list", "/a").json()
    assert versions == sorted(versions, reverse=True)
    assert len(versions) == 2
    assert dcos.good("app", "version", "list", "--max-count=1", "/a").json() == versions[:1]


@tries("app show --app-version", "an earlier definition, by `-1` or by its time")
def test_app_show_of_a_version(dcos: Dcos) -> None:
    dcos.start()
    dcos.good("app", "update", "--force", "/a", "mem=17")
    earlier = dcos.good("app", "show", "--app-version=-1", "/a").json()
    assert (earlier["mem"], dcos.engine.app("/a")["mem"]) == (16, 17)
    assert dcos.good("app", "show", f"--app-version={earlier['version']}", "/a").json() == earlier


@tries("app stop", "no instances; a second time status 1")
def test_app_stop(dcos: Dcos) -> None:
    dcos.start()
    dcos.good("app", "stop", "/a")
    dcos.engine.running("/a", 0)
    again = dcos("app", "stop", "/a")
    assert (again.status, "already stopped: 0 instances" in again.out) == (1, True)


@tries("app start", "as many instances as are named; when it runs, status 1")
def test_app_start(dcos: Dcos) -> None:
    dcos.start(instances=0)
    dcos.good("app", "start", "/a", "2")
    dcos.engine.running("/a", 2)
    again = dcos("app", "start", "/a")
    assert (again.status, "already started: 2 instances" in again.out) == (1, True)


@tries("app restart", "every task is replaced")
def test_app_restart(dcos: Dcos) -> None:
    dcos.start()
    old = dcos.engine.running("/a")[0]["id"]
    assert dcos.good("app", "restart", "/a").out.startswith("Created deployment ")
    live.until(lambda: dcos.engine.running("/a")[0]["id"] != old, "another task")


@tries("app kill", "the tasks are killed and replaced; on another `--host` none, status 1")
def test_app_kill(dcos: Dcos) -> None:
    dcos.start()
    old = dcos.engine.running("/a")[0]["id"]
    elsewhere = dcos("app", "kill", "--host=elsewhere", "/a")
    assert (elsewhere.status, elsewhere.out.strip()) == (1, "Killed tasks: []")
    assert old in dcos.good("app", "kill", "/a").out
    live.until(lambda: dcos.engine.running("/a")[0]["id"] != old, "another task")


@tries("app kill --scale", "the tasks are killed, and the app wants that many fewer")
def test_app_kill_with_scale(dcos: Dcos) -> None:
    dcos.start(instances=2)
    assert "deploymentId" in dcos.good("app", "kill", "--scale", "/a").out
    dcos.engine.running("/a", 0)
    assert dcos.engine.app("/a")["instances"] == 0


@tries("app remove", "the app and its tasks are gone, one that is locked too")
def test_app_remove(dcos: Dcos) -> None:
    dcos.stuck()
    dcos.good("app", "remove", "/stuck")
    assert dcos.engine.get("/v2/apps") == {"apps": []}


@tries("task list", "a row for each task, of all apps or of one")
def test_task_list(dcos: Dcos) -> None:
    dcos.start("/a", instances=2)
    dcos.start("/b")
    tasks = {t["id"]: t["appId"] for t in dcos.engine.get("/v2/tasks")["tasks"]}
    assert {row["ID"]: row["APP"] for row in dcos.good("task", "list").rows()} == tasks
    assert [row["HEALTHY"] for row in dcos.good("task", "list", "/b").rows()] == ["True"]


@tries("task show", "the task as JSON; one that is not there is status 1")
def test_task_show(dcos: Dcos) -> None:
    dcos.start()
    (task,) = dcos.engine.running("/a")
    assert dcos.good("task", "show", task["id"]).json() == task
    wrong = dcos("task", "show", "a.b")
    assert (wrong.status, wrong.err) == (1, "Task 'a.b' does not exist")


@tries("task stop", "the task as JSON, and it is replaced; `--wipe`", ("0.6.1",))
def test_task_stop(dcos: Dcos) -> None:
    dcos.start()
    (old,) = dcos.engine.running("/a")
    assert dcos.good("task", "stop", "--wipe", old["id"]).json()["id"] == old["id"]
    live.until(lambda: dcos.engine.running("/a")[0]["id"] != old["id"], "another task")
    assert dcos("task", "stop", "a.b").status == 1


@tries("task kill", "several at once; with `--scale` they are not replaced", ("0.6.1",))
def test_task_kill(dcos: Dcos) -> None:
    dcos.start(instances=3)
    one, two, three = (task["id"] for task in dcos.engine.running("/a", 3))
    told = dcos.good("task", "kill", "--scale", one, two).out
    assert told.startswith("Created deployment: ")
    assert [task["id"] for task in dcos.engine.running("/a", 1)] == [three]
    assert three in dcos.good("task", "kill", three).out
    assert dcos("task", "kill", "a.b").status == 1
