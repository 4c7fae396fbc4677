"""A WSGI application with nothing but the standard library."""


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
    yield f"{environ['REQUEST_METHOD']} ".encode()
    yield environ["wsgi.input"].read().upper()
