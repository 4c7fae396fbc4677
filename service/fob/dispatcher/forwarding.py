"""The heads of a call's request and answer as they are passed on (RFC 9110, section 7.6)."""

import re
import uuid

from tornado.httputil import HTTPHeaders, HTTPServerRequest

from fob.dispatcher.upstream import Address, Head

PREFIX = "/api/call/"

_HOP_BY_HOP = frozenset(
    {
        "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
        "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
    }
)  # fmt: skip
_REMADE = frozenset({"Host", "Expect", "Content-Length"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")


def function_id(request: HTTPServerRequest) -> str:
    """The id of the function that is called."""
    return request.path[len(PREFIX) :].partition("/")[0]


def target(request: HTTPServerRequest) -> str:
    """The request's target as the function sees it: what follows the id."""
    path, mark, query = str(request.uri).partition("?")
    return "/" + path[len(PREFIX) :].partition("/")[2] + mark + query


def request_id(request: HTTPServerRequest) -> str:
    """The client's own id for the request, or a new one."""
    given = request.headers.get("X-Request-Id", "")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def sends_body(request: HTTPServerRequest) -> bool:
    """Whether a body comes after the head."""
    headers = request.headers
    return headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers


def request_head(
    request: HTTPServerRequest, there: Address, id_: str, token_is_ours: bool
) -> bytes:
    """The request's head for the function at `there`; its body is framed as the client's is.

    A token that is the dispatcher's does not go on to functions.
    """
    given = request.headers
    headers = _passed_on(given, _REMADE)
    if token_is_ours:
        headers.pop("Authorization", None)
    if "Content-Length" in given:
        headers["Content-Length"] = given["Content-Length"]
    elif sends_body(request):
        headers["Transfer-Encoding"] = "chunked"
    headers["Host"] = netloc(there)
    _add_origin(headers, request)
    headers["X-Request-Id"] = id_
    lines = [f"{request.method} {target(request)} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.get_all()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _add_origin(headers: HTTPHeaders, request: HTTPServerRequest) -> None:
    """Say who asked, and for what; a proxy in front of us knows better than we do."""
    before = headers.get_list("X-Forwarded-For")
    headers["X-Forwarded-For"] = ", ".join([*before, str(request.remote_ip)])
    headers.setdefault("X-Forwarded-Host", request.headers.get("Host", ""))
    headers.setdefault("X-Forwarded-Proto", request.protocol)


def answer_headers(head: Head, id_: str) -> HTTPHeaders:
    """The answer's headers for the client."""
    headers = _passed_on(head.headers, frozenset({"Content-Length"}))
    if head.length is not None and head.status != 204:
        headers["Content-Length"] = str(head.length)
    headers["X-Request-Id"] = id_
    return headers


def _passed_on(headers: HTTPHeaders, but: frozenset[str]) -> HTTPHeaders:
    """The headers that are for the other end, without those of `but`."""
    named = {name.strip().title() for name in headers.get("Connection", "").split(",")}
    passed = HTTPHeaders()
    for name, value in headers.get_all():
        if name not in _HOP_BY_HOP and name not in named and name not in but:
            passed.add(name, value)
    return passed


def netloc(there: Address) -> str:
    """Host and port as a URL has them."""
    host, port = there
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
