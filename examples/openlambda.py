"""OpenLambda: `f(event)`."""


def f(event):
    return {"echo": event}
