"""The heads of a call's request and answer as they are passed on (RFC 9110, section 7.6)."""

import itertools
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache

from fob.http.message import RECENT, RequestHead, ResponseHead

PREFIX = "/api/call/"

_HOP_BY_HOP = frozenset(
    {
        "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
        "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
    }
)  # fmt: skip
# what we make anew, and what is for us alone
_OURS = frozenset({"Host", "Expect", "Content-Length", "X-Request-Id", "X-Forwarded-For"})
_NOT_FOR_FUNCTIONS = _HOP_BY_HOP | _OURS
_WITH_TOKEN = _NOT_FOR_FUNCTIONS | {"Authorization"}
_NOT_FOR_CLIENTS = _HOP_BY_HOP | {"Content-Length", "X-Request-Id"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
# unique is enough for our own: nobody is admitted for knowing one
_OURS_BEGIN = secrets.token_hex(8)
_number = itertools.count(1)


def function_id(request: RequestHead) -> str:
    """The id of the function that is called."""
    return path(request)[len(PREFIX) :].partition("/")[0]


def path(request: RequestHead) -> str:
    """The request's path, without the query."""
    return request.target.partition("?")[0]


@lru_cache(RECENT)
def named(request: RequestHead) -> str:
    """Method and path, for the log."""
    return f"{request.method} {path(request)[:200]}"


def target(request: RequestHead) -> str:
    """The request's target as the function sees it: what follows the id."""
    path, mark, query = request.target.partition("?")
    return "/" + path[len(PREFIX) :].partition("/")[2] + mark + query


def request_id(request: RequestHead) -> str:
    """The client's own id for the request, or a new one."""
    given = request.headers.get("X-Request-Id", "")
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_OURS_BEGIN}{next(_number):016x}"


@lru_cache(RECENT)
def request_head(request: RequestHead, netloc: str, remote_ip: str, token_is_ours: bool) -> bytes:
    """The request's head for the function at `netloc`, up to the id that `id_line` ends it with.

    Its body is framed as the client's is. A token that is the dispatcher's does not go on.
    """
    headers = request.headers
    drop = _dropped(_WITH_TOKEN if token_is_ours else _NOT_FOR_FUNCTIONS, headers)
    before = headers.get("X-Forwarded-For")
    lines = [f"{request.method} {target(request)} HTTP/1.1", f"Host: {netloc}"]
    lines += [f"{name}: {value}" for name, value in request.fields if name not in drop]
    if request.length is None:
        lines.append("Transfer-Encoding: chunked")
    elif request.length or "Content-Length" in headers:
        lines.append(f"Content-Length: {request.length}")
    # who asked, and for what; a proxy in front of us knows better than we do
    lines.append(f"X-Forwarded-For: {before + ', ' if before else ''}{remote_ip}")
    if "X-Forwarded-Host" not in headers:
        lines.append(f"X-Forwarded-Host: {headers.get('Host', '')}")
    if "X-Forwarded-Proto" not in headers:
        lines.append("X-Forwarded-Proto: http")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


@lru_cache(RECENT)
def answer_head(head: ResponseHead, more: str) -> bytes:
    """The answer's head for the client, up to the id that `id_line` ends it with; `more` are lines
    that say how its body is framed."""
    drop = _dropped(_NOT_FOR_CLIENTS, head.headers)
    lines = [f"HTTP/1.1 {head.status} {head.reason}"]
    lines += [f"{name}: {value}" for name, value in head.fields if name not in drop]
    if head.length is not None and head.status != 204:
        lines.append(f"Content-Length: {head.length}")
    return ("\r\n".join(lines) + "\r\n" + more).encode("latin-1")


def id_line(id_: str) -> bytes:
    """The last line of a head, and the blank one that ends it."""
    return f"X-Request-Id: {id_}\r\n\r\n".encode()


def _dropped(always: frozenset[str], headers: Mapping[str, str]) -> frozenset[str]:
    """The headers not to be passed on: those dropped always, and those for the neighbour only."""
    if "Connection" not in headers:
        return always
    return always | {name.strip().title() for name in headers["Connection"].split(",")}
