"""The one table of routes."""

from typing import Any

from tornado.web import Application

from fob.dispatcher import handlers
from fob.dispatcher.base import log_request
from fob.dispatcher.calls import Calls
from fob.dispatcher.descriptions import Descriptions
from fob.dispatcher.guard import Guard
from fob.dispatcher.inhand import InHand
from fob.functions import Functions

_ID = "([^/]+)"


def application(functions: Functions, guard: Guard, in_hand: InHand, calls: Calls) -> Application:
    """The Tornado application that serves the API."""
    common: dict[str, Any] = {"functions": functions, "guard": guard, "in_hand": in_hand}
    described = common | {"descriptions": Descriptions(functions, calls.pool)}
    return Application(
        [
            (r"/api/stats", handlers.Stats, common),
            (r"/api/gen", handlers.Gen, common),
            (rf"/api/meta/{_ID}", handlers.Meta, common),
            (r"/api/call/.*", calls),
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
