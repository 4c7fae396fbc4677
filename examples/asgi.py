"""An ASGI application with nothing but the standard library: lifespan, and streaming both ways."""

state = {"started": False}


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200 if state["started"] else 500,
            "headers": [(b"content-type", b"text/plain"), (b"x-path", scope["path"].encode())],
        }
    )
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        body = message.get("body", b"").upper()
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def lifespan(receive, send):
    await receive()
    state["started"] = True
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("good bye", flush=True)
    await send({"type": "lifespan.shutdown.complete"})
