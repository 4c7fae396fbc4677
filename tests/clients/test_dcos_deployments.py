"""Deployments, groups and the queue with the DC/OS command line."""

from typing import Any

from dcos import Dcos, tries

import live

GROUP = {
    "id": "/shop",
    "groups": [
        {"id": "data", "apps": [{"id": "db", "cmd": "exec sleep 1000", "cpus": 0.01, "mem": 16}]},
        {
            "id": "web",
            "dependencies": ["/shop/data"],
            "apps": [{"id": "site", "cmd": "exec sleep 1000", "cpus": 0.01, "mem": 16}],
        },
    ],
}


def made(dcos: Dcos) -> None:
    """Create the group without the command line."""
    answer = dcos.engine.ask("POST", "/v2/groups", json=GROUP)
    assert answer.status_code == 201, answer.text
    dcos.until_done()


def instances(dcos: Dcos) -> dict[str, int]:
    return {app["id"]: app["instances"] for app in dcos.engine.get("/v2/apps")["apps"]}


@tries("deployment list", "a row for each, of all apps or of one; none is status 1")
def test_deployment_list(dcos: Dcos) -> None:
    none = dcos("deployment", "list")
    assert (none.status, none.err) == (1, "There are no deployments")
    deployment = dcos.stuck()
    for words in (["deployment", "list"], ["deployment", "list", "/stuck"]):
        (row,) = dcos.good(*words).rows()
        assert (row["APP"], row["ACTION"], row["PROGRESS"]) == ("/stuck", "start", "0/1")
        assert row["ID"] == deployment
    assert dcos("deployment", "list", "/other").status == 1


@tries("deployment watch", "prints it until it is over, or `--max-count` times")
def test_deployment_watch(dcos: Dcos) -> None:
    deployment = dcos.stuck()
    watched = dcos.good("deployment", "watch", "--max-count=1", "--interval=1", deployment)
    assert "Deployment update time" in watched.out
    assert deployment in watched.out
    dcos.good("app", "remove", "--force", "/stuck")
    assert dcos.good("deployment", "watch", deployment).out == ""


@tries("deployment rollback", "another deployment undoes it: a new app is gone again")
def test_deployment_rollback(dcos: Dcos) -> None:
    deployment = dcos.stuck()
    undone = dcos.good("deployment", "rollback", deployment).json()
    assert set(undone) == {"deploymentId", "version"}
    assert undone["deploymentId"] != deployment
    assert instances(dcos) == {}
    wrong = dcos("deployment", "rollback", deployment)
    assert (wrong.status, "does not exist" in wrong.err) == (1, True)


@tries("deployment stop", "it is over, and what it changed stays")
def test_deployment_stop(dcos: Dcos) -> None:
    deployment = dcos.stuck()
    dcos.good("deployment", "stop", deployment)
    assert dcos.engine.get("/v2/deployments") == []
    assert instances(dcos) == {"/stuck": 1}


@tries("group add", "nested groups, in the order of dependencies; a second time status 1")
def test_group_add(dcos: Dcos) -> None:
    dcos.good("group", "add", given=GROUP)
    dcos.until_done()
    tasks = {app: dcos.engine.running(app)[0] for app in ("/shop/data/db", "/shop/web/site")}
    started = [tasks[app]["startedAt"] for app in ("/shop/data/db", "/shop/web/site")]
    assert started == sorted(started)
    again = dcos("group", "add", given=GROUP)
    assert (again.status, again.err) == (1, "Group '/shop' already exists")


@tries("group list", "a row for each group, with the number of apps in it and below")
def test_group_list(dcos: Dcos) -> None:
    made(dcos)
    dcos.start("/lone")
    rows = {row["ID"]: row["APPS"] for row in dcos.good("group", "list").rows()}
    assert rows == {"/shop": "2", "/shop/data": "1", "/shop/web": "1"}


@tries("group show", "the tree as JSON; one that is not there is status 1")
def test_group_show(dcos: Dcos) -> None:
    made(dcos)
    shown = dcos.good("group", "show", "/shop").json()
    assert [group["id"] for group in shown["groups"]] == ["/shop/data", "/shop/web"]
    assert shown["groups"][1]["dependencies"] == ["/shop/data"]
    assert shown["groups"][1]["apps"][0]["id"] == "/shop/web/site"
    wrong = dcos("group", "show", "/other")
    assert (wrong.status, "Group '/other' does not exist" in wrong.err) == (1, True)


@tries("group show --group-version", "what was in it before a change")
def test_group_show_of_a_version(dcos: Dcos) -> None:
    made(dcos)
    (first,) = dcos.engine.get("/v2/groups//shop/versions")
    dcos.good("group", "scale", "/shop", "2")
    earlier = dcos.good("group", "show", f"--group-version={first}", "/shop").json()
    assert earlier["groups"][0]["apps"][0]["instances"] == 1
    assert len(dcos.engine.get("/v2/groups//shop/versions")) == 2


@tries("group scale", "every app below has that many times the instances")
def test_group_scale(dcos: Dcos) -> None:
    made(dcos)
    assert dcos.good("group", "scale", "/shop", "2").out.startswith("Created deployment ")
    assert instances(dcos) == {"/shop/data/db": 2, "/shop/web/site": 2}
    dcos.engine.running("/shop/data/db", 2)
    dcos.good("group", "scale", "--force", "/shop", "0.5")
    assert instances(dcos) == {"/shop/data/db": 1, "/shop/web/site": 1}


@tries("group update", "by JSON on standard input; what is not named goes")
def test_group_update(dcos: Dcos) -> None:
    made(dcos)
    kept: dict[str, Any] = {"groups": [{"id": "data"}]}
    assert dcos.good("group", "update", "/shop", given=kept).out.startswith("Created deployment ")
    assert instances(dcos) == {"/shop/data/db": 1}
    dcos.until_done()
    assert len(dcos.engine.get("/v2/tasks")["tasks"]) == 1


@tries("group remove", "the group, its groups, apps and tasks are gone")
def test_group_remove(dcos: Dcos) -> None:
    made(dcos)
    dcos.good("group", "remove", "/shop")
    assert instances(dcos) == {}
    assert dcos.engine.get("/v2/groups")["groups"] == []
    live.until(lambda: dcos.engine.get("/v2/tasks") == {"tasks": []}, "the end of its tasks")


@tries("debug list", "a row for each app in the queue", ("0.6.1",))
def test_debug_list(dcos: Dcos) -> None:
    dcos.stuck()
    queued = dcos.good("debug", "list").out.splitlines()[1].split()
    assert queued[0] == "/stuck"
    assert queued[2:6] == ["1", "True", "1", "1"]  # to launch, waiting, offers, unused offers


@tries("debug summary", "what of the app's wishes the machine's offer meets", ("0.6.1",))
def test_debug_summary(dcos: Dcos) -> None:
    dcos.stuck()
    lines = dcos.good("debug", "summary", "/stuck").out.splitlines()
    told = {line.split()[0]: line.split()[-1] for line in lines if line.strip()}
    assert (told["ROLE"], told["CONSTRAINTS"], told["CPUS"]) == ("100.00%", "100.00%", "0.00%")


@tries("debug details", "which wish the machine's last offer did not meet", ("0.6.1",))
def test_debug_details(dcos: Dcos) -> None:
    dcos.stuck()
    (row,) = dcos.good("debug", "details", "/stuck").rows()
    assert (row["HOSTNAME"], row["ROLE"], row["CPUS"], row["MEM"]) == ("127.0.0.1", "ok", "-", "ok")
