"""OpenFaaS, the classic template: text in, text out."""


def handle(req):
    return req.upper()
