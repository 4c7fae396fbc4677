"""The table of routes."""

import logging

from tornado.web import Application, RequestHandler

from fob.engine.api import (
    apps,
    deployments,
    groups,
    stream,
    system,
    tasks,
)
from fob.engine.api.base import Handler, House, UnknownRoute

log = logging.getLogger(__name__)


PREFIXES = ("", r"/+service/+marathon")
_ID = r"/*(.+?)"
ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/+v2/+info/*", system.Info),
    (r"/+v2/+leader/*", system.Leader),
    (r"/+v2/+plugins/*", system.Plugins),
    (r"/+v2/+tasks/*", tasks.TasksHandler),
    (r"/+v2/+tasks/+delete/*", tasks.TasksDelete),
    (r"/+v2/+queue/*", system.Queue),
    (rf"/+v2/+queue{_ID}/+delay/*", system.QueueDelay),
    (r"/+v2/+deployments/*", deployments.AllDeployments),
    (r"/+v2/+deployments/+([^/]+)/*", deployments.OneDeployment),
    (r"/+v2/+events/*", stream.EventStream),
    (r"/+v2/+groups(?:/+(.*?))?/+versions/*", groups.GroupVersions),
    (r"/+v2/+groups(?:/+(.*?))?/+versions/+([^/]+)/*", groups.GroupVersion),
    (r"/+v2/+groups(?:/+(.*?))?/+apps/*", groups.AppsOfGroup),
    (r"/+v2/+groups(?:/+(.*?))?/*", groups.GroupsHandler),
    (r"/+v2/+apps/*", apps.AppsHandler),
    (r"/+v2/+apps(?:/*(.*?))/+\*", apps.GroupApps),
    (r"/+v2/+apps(?:/*(.*?))/+\*/+tasks/*", tasks.GroupTasks),
    (rf"/+v2/+apps{_ID}/+restart/*", apps.Restart),
    (rf"/+v2/+apps{_ID}/+versions/*", apps.Versions),
    (rf"/+v2/+apps{_ID}/+versions/+([^/]+)/*", apps.Version),
    (rf"/+v2/+apps{_ID}/+tasks/*", tasks.AppTasks),
    (rf"/+v2/+apps{_ID}/+tasks/+([^/]+)/*", tasks.AppTask),
    (rf"/+v2/+apps{_ID}/*", apps.OneApp),
]
AGENT_ROUTES: list[tuple[str, type[Handler]]] = [(r"/agent/([^/]+)/files/read", tasks.ReadFile)]


def application(house: House) -> Application:
    """All routes. A request that matches none is answered 404 in Marathon's shape."""
    routes = [(prefix + path, handler) for prefix in PREFIXES for path, handler in ROUTES]
    return Application(
        [(path, handler, {"house": house}) for path, handler in [*routes, *AGENT_ROUTES]]
        + [(path, system.Ping) for path in (r"/ping", r"/service/marathon/ping")],
        default_handler_class=UnknownRoute,
        default_handler_args={"house": house},
        log_function=_log_request,
        leader=f"http://{house.address}",
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
