"""OpenFaaS, the HTTP templates: the event is the request."""


def handle(event, context):
    return {
        "statusCode": 202,
        "body": {"method": event.method, "path": event.path, "length": len(event.body)},
        "headers": {"X-Host": context.hostname},
    }
