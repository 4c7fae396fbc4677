"""The engine itself: ping, info, leader, and the queue of tasks that wait to be launched."""

from tornado.web import RequestHandler

from fob.engine.api.base import MarathonHandler
from fob.engine.definitions import app_definitions
from fob.engine.errors import ApiError
from fob.engine.tasks import marathon_json

MARATHON_VERSION = "1.5.8"  # whose behaviour this API follows


class PingHandler(RequestHandler):
    def get(self) -> None:
        if "json" in self.request.headers.get("Accept", ""):
            self.set_header("Content-Type", "application/json")
            self.finish('"pong"')
        else:
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish("pong")

    head = get


class InfoHandler(MarathonHandler):
    def get(self) -> None:
        self.send(
            {
                "name": "marathon",
                "version": MARATHON_VERSION,
                "buildref": "fob",
                "elected": True,
                "leader": self.engine.address,
                "frameworkId": self.engine.framework_id,
                "marathon_config": {"ha": False, "hostname": self.supervisor.host},
                "zookeeper_config": {},
                "event_subscriber": None,
                "http_config": {"http_port": int(self.engine.address.rpartition(":")[2])},
            }
        )


class LeaderHandler(MarathonHandler):
    def get(self) -> None:
        self.send({"leader": self.engine.address})

    def delete(self) -> None:
        """Confirm, as a leader of Marathon does. This engine is then elected again at once, for
        there is no other candidate."""
        self.send({"message": "Leadership abdicated"})


class PluginsHandler(MarathonHandler):
    def get(self) -> None:
        self.send({"plugins": []})


class QueueHandler(MarathonHandler):
    def get(self) -> None:
        engine = self.engine
        attributes = [{"name": k, "text": v} for k, v in engine.attributes.items()]
        offer = marathon_json.offer(*engine.resources.free(), self.supervisor.host, engine.agent_id)
        offer["attributes"] = attributes
        apps = self.supervisor.apps.values()
        items = [marathon_json.queue_item(app, offer) for app in apps if app.waiting]
        self.send({"queue": [item | {"app": self.omit_long(item["app"])} for item in items]})


class QueueDelayHandler(MarathonHandler):
    def delete(self, app_id: str) -> None:
        app_id = app_definitions.absolute(app_id)
        app = self.supervisor.apps.get(app_id)
        if app is None or app.waiting is None:
            raise ApiError(404, f"Application {app_id} not found in tasks queue.")
        self.supervisor.skip_backoff(app)
        self.set_status(204)
