"""The one table of routes."""

from typing import Any

from tornado.web import Application

from fob.dispatcher import handlers
from fob.dispatcher.base import log_request
from fob.dispatcher.descriptions import Descriptions
from fob.dispatcher.guard import Guard
from fob.dispatcher.inhand import InHand
from fob.dispatcher.pool import Pool
from fob.functions import Functions

_ID = "([^/]+)"


def application(functions: Functions, guard: Guard, in_hand: InHand, pool: Pool) -> Application:
    """The Tornado application that serves the API, all of it but calls."""
    common: dict[str, Any] = {"functions": functions, "guard": guard, "in_hand": in_hand}
    described = common | {"descriptions": Descriptions(functions, pool)}
    return Application(
        [
            (r"/api/stats", handlers.Stats, common),
            (r"/api/gen", handlers.Gen, common),
            (rf"/api/meta/{_ID}", handlers.Meta, common),
            (rf"/api/cs/{_ID}", handlers.Code, common),
            (r"/api/functions", handlers.Listing, common),
            (rf"/api/functions/{_ID}", handlers.Function, common),
            (rf"/api/functions/{_ID}/logs", handlers.Logs, common),
            (rf"/api/functions/{_ID}/openapi.json", handlers.OpenApi, described),
            (rf"/api/functions/{_ID}/schema.json", handlers.Schema, described),
        ],
        default_handler_class=handlers.Unknown,
        default_handler_args=common,
        log_function=log_request,
    )
