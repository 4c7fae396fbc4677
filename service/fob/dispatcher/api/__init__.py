"""The JSON API: routes, and handlers that parse a request, call a verb and respond."""
