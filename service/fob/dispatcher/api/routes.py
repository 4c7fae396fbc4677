"""The one table of routes."""

from typing import Any

from tornado.web import Application

from fob.dispatcher.api import handlers
from fob.dispatcher.api.base import log_request
from fob.dispatcher.api.descriptions import Descriptions
from fob.dispatcher.gateway.pool import Pool
from fob.dispatcher.guard import Guard
from fob.dispatcher.in_flight import InFlight
from fob.functions.service import Functions

_ID = "([^/]+)"


def application(functions: Functions, guard: Guard, in_flight: InFlight, pool: Pool) -> Application:
    """Build the Tornado application: the whole API except calls."""
    common: dict[str, Any] = {"functions": functions, "guard": guard, "in_flight": in_flight}
    described = common | {"descriptions": Descriptions(functions, pool)}
    return Application(
        [
            (r"/api/stats", handlers.StatsHandler, common),
            (r"/api/gen", handlers.GenHandler, common),
            (rf"/api/meta/{_ID}", handlers.MetaHandler, common),
            (rf"/api/cs/{_ID}", handlers.CodeHandler, common),
            (r"/api/functions", handlers.FunctionsHandler, common),
            (rf"/api/functions/{_ID}", handlers.FunctionHandler, common),
            (rf"/api/functions/{_ID}/logs", handlers.LogsHandler, common),
            (rf"/api/functions/{_ID}/openapi.json", handlers.OpenApiHandler, described),
            (rf"/api/functions/{_ID}/schema.json", handlers.SchemaHandler, described),
        ],
        default_handler_class=handlers.UnknownRouteHandler,
        default_handler_args=common,
        log_function=log_request,
    )
