"""Nuclio: a context that is prepared once, and an event."""


def init_context(context):
    context.user_data.greeting = "Hello"


def handler(context, event):
    context.logger.info_with("called", path=event.path)
    text = f"{context.user_data.greeting} {event.body['name']}"
    return context.Response(body=text, headers={"X-Path": event.path}, status_code=201)
