"""For functions-framework: a function of a Flask request, and one of a Starlette request."""

from hello import handler


def respond(request):
    return handler()


async def respond_async(request):
    return handler()
