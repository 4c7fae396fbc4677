"""For func-python: the function, in ASGI's form, as its template has it."""

from asgi import app
from func_python.http import serve


async def handle(scope, receive, send):
    if scope["type"] == "http":
        await app(scope, receive, send)


if __name__ == "__main__":
    serve(handle)
