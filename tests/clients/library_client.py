"""A program that uses the `marathon` library, run by the library's own Python; prints JSON."""

import json
import sys

from marathon.models import MarathonApp, MarathonGroup

from marathon import MarathonClient, NotFoundError

url, token = sys.argv[1:]
client = MarathonClient(url, auth_token=token)
basic = MarathonClient(url, username="anyone", password=token)
seen = {}


def wait(deployment):
    """Wait as the library does: list deployments until this one has ended."""
    while deployment in [each.id for each in client.list_deployments()]:
        pass


def app(id_, **more):
    return MarathonApp(id=id_, cmd="exec sleep 1000", cpus=0.01, mem=16, **more)


events = basic.event_stream()
seen["first event"] = next(events).event_type

created = client.create_app("/a", app("/a", labels={"kind": "x"}))
wait(created.deployments[0].id)
seen["ping"] = client.ping().decode()
seen["version"] = client.get_info().version
seen["leader"] = client.get_leader()["leader"] in url
one = client.get_app("/a", embed_tasks=True)
seen["app"] = [one.id, one.tasks_running, one.tasks[0].state, one.labels]
seen["by label"] = [each.id for each in client.list_apps(label="kind in (x, y)")]
seen["by command"] = [each.id for each in client.list_apps(cmd="SLEEP 1000", embed_tasks=True)]
wait(client.scale_app("/a", instances=3, force=True)["deploymentId"])
seen["scaled"] = len(client.list_tasks("/a"))
wait(client.update_app("/a", MarathonApp(mem=17), force=True)["deploymentId"])
seen["versions"] = len(client.list_versions("/a"))
version = str(created.version).replace("+00:00", "Z")
wait(client.rollback_app("/a", version, force=True)["deploymentId"])
seen["rolled back"] = client.get_app("/a").mem
killed = client.kill_task("/a", client.list_tasks("/a")[0].id, scale=True)
wait(killed["deploymentId"])
seen["killed with scale"] = client.get_app("/a").instances
wait(client.update_apps([app("/a", instances=1), app("/b")], force=True)["deploymentId"])
seen["both"] = sorted(each.id for each in client.list_apps())
wait(client.restart_app("/b", force=True)["deploymentId"])

group = MarathonGroup(id="/g", apps=[app("/g/one"), app("/g/two", dependencies=["/g/one"])])
wait(client.create_group(group)["deploymentId"])
wait(client.scale_group("/g", 2)["deploymentId"])
seen["group"] = {each.id: each.instances for each in client.get_group("/g").apps}
seen["groups"] = [each.id for each in client.list_groups()]
wait(client.delete_group("/g", force=True)["deploymentId"])

stuck = client.create_app("/stuck", MarathonApp(id="/stuck", cmd="true", cpus=10_000))
(item,) = client.list_queue(embed_last_unused_offers=True)
seen["queue"] = [item.app.id, item.count, item.delay.overdue]
(deployment,) = client.list_deployments()
seen["deployment"] = [deployment.affected_apps, deployment.current_actions[0].action]
client.reset_delay("/stuck")
wait(client.delete_deployment(deployment.id)["deploymentId"])
for id_ in ("/a", "/b"):
    wait(client.delete_app(id_, force=True)["deploymentId"])
try:
    client.get_app("/a")
except NotFoundError as error:
    seen["gone"] = error.error_message

types = set()
for event in events:
    types.add(event.event_type)
    if event.event_type == "app_terminated_event" and event.app_id == "/b":
        break
seen["events"] = sorted(types)
print(json.dumps(seen))
