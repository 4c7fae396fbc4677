"""A bare ASGI application, for uvicorn and granian."""

import json

from hello import handler

HEADERS = [(b"content-type", b"application/json")]


async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = json.dumps(handler()).encode()
    headers = [*HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
