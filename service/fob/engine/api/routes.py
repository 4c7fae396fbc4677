"""The routes of the engine's API."""

import logging

from tornado.web import Application, RequestHandler

from fob.engine.api import (
    apps,
    deployments,
    groups,
    metrics,
    stream,
    system,
    tasks,
)
from fob.engine.api.base import EngineParts, MarathonHandler, UnknownUriHandler

log = logging.getLogger(__name__)

PREFIXES = ("", r"/+service/+marathon")
_ID = r"/*(.+?)"
ROUTES: list[tuple[str, type[MarathonHandler]]] = [
    (r"/+metrics/*", metrics.MetricsHandler),
    (r"/+v2/+info/*", system.InfoHandler),
    (r"/+v2/+leader/*", system.LeaderHandler),
    (r"/+v2/+plugins/*", system.PluginsHandler),
    (r"/+v2/+tasks/*", tasks.TasksHandler),
    (r"/+v2/+tasks/+delete/*", tasks.TasksDeleteHandler),
    (r"/+v2/+queue/*", system.QueueHandler),
    (rf"/+v2/+queue{_ID}/+delay/*", system.QueueDelayHandler),
    (r"/+v2/+deployments/*", deployments.DeploymentsHandler),
    (r"/+v2/+deployments/+([^/]+)/*", deployments.DeploymentHandler),
    (r"/+v2/+events/*", stream.EventStreamHandler),
    (r"/+v2/+groups(?:/+(.*?))?/+versions/*", groups.GroupVersionsHandler),
    (r"/+v2/+groups(?:/+(.*?))?/+versions/+([^/]+)/*", groups.GroupVersionHandler),
    (r"/+v2/+groups(?:/+(.*?))?/+apps/*", groups.GroupAppsHandler),
    (r"/+v2/+groups(?:/+(.*?))?/*", groups.GroupsHandler),
    (r"/+v2/+apps/*", apps.AppsHandler),
    (r"/+v2/+apps(?:/*(.*?))/+\*", apps.AppsBelowHandler),
    (r"/+v2/+apps(?:/*(.*?))/+\*/+tasks/*", tasks.TasksBelowHandler),
    (rf"/+v2/+apps{_ID}/+restart/*", apps.RestartHandler),
    (rf"/+v2/+apps{_ID}/+versions/*", apps.AppVersionsHandler),
    (rf"/+v2/+apps{_ID}/+versions/+([^/]+)/*", apps.AppVersionHandler),
    (rf"/+v2/+apps{_ID}/+tasks/*", tasks.AppTasksHandler),
    (rf"/+v2/+apps{_ID}/+tasks/+([^/]+)/*", tasks.AppTaskHandler),
    (rf"/+v2/+apps{_ID}/*", apps.AppHandler),
]
AGENT_ROUTES: list[tuple[str, type[MarathonHandler]]] = [
    (r"/agent/([^/]+)/files/read", tasks.ReadFileHandler)
]


def application(engine: EngineParts) -> Application:
    """Return the application; it responds to unknown paths with 404 in Marathon's shape."""
    requests = metrics.Requests()

    def log_request(handler: RequestHandler) -> None:
        requests.count(handler)
        _log_request(handler)

    routes = [(prefix + path, handler) for prefix in PREFIXES for path, handler in ROUTES]
    return Application(
        [(path, handler, {"engine": engine}) for path, handler in [*routes, *AGENT_ROUTES]]
        + [(path, system.PingHandler) for path in (r"/ping", r"/service/marathon/ping")],
        default_handler_class=UnknownUriHandler,
        default_handler_args={"engine": engine},
        log_function=log_request,
        requests=requests,
        leader=f"http://{engine.address}",
    )


def _log_request(handler: RequestHandler) -> None:
    milliseconds = 1000 * handler.request.request_time()
    log.debug(
        "%s %s %d %.1fms",
        handler.request.method,
        handler.request.path,
        handler.get_status(),
        milliseconds,
    )
