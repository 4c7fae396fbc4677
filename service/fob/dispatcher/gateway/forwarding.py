"""Heads of a call's request and response as they are forwarded (RFC 9110, section 7.6)."""

import itertools
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache

from fob.http.message import CACHED_HEADS, RequestHead, ResponseHead

PREFIX = "/api/call/"

_HOP_BY_HOP = frozenset(
    {
        "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
        "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
    }
)  # fmt: skip
# written anew by the dispatcher, or meant for it alone
_OURS = frozenset({"Host", "Expect", "Content-Length", "X-Request-Id", "X-Forwarded-For"})
_NOT_FOR_FUNCTIONS = _HOP_BY_HOP | _OURS
_NOR_THE_TOKEN = _NOT_FOR_FUNCTIONS | {"Authorization"}
_NOT_FOR_CLIENTS = _HOP_BY_HOP | {"Content-Length", "X-Request-Id"}
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
# A counter after a random prefix: ids must be unique, but need not be unguessable, because no id
# grants access. A random number per call would cost a system call.
_ID_PREFIX = secrets.token_hex(8)
_number = itertools.count(1)


def function_id(request: RequestHead) -> str:
    """The id of the called function."""
    return path(request)[len(PREFIX) :].partition("/")[0]


def path(request: RequestHead) -> str:
    """The request's path, without the query."""
    return request.target.partition("?")[0]


@lru_cache(CACHED_HEADS)
def log_name(request: RequestHead) -> str:
    """Method and path, for the log."""
    return f"{request.method} {path(request)[:200]}"


def target(request: RequestHead) -> str:
    """The request's target for the function: what follows the id."""
    path, mark, query = request.target.partition("?")
    return "/" + path[len(PREFIX) :].partition("/")[2] + mark + query


def request_id(request: RequestHead) -> str:
    """The request's id from the client, or a new one."""
    given = request.headers.get("X-Request-Id", "")
    if given and _REQUEST_ID.fullmatch(given):
        return given
    return f"{_ID_PREFIX}{next(_number):016x}"


# Parsed heads are cached and compare by identity (`eq=False`), so for a repeated head each of
# these costs one look-up. The request id differs per call and is therefore the last line,
# appended by the caller.


@lru_cache(CACHED_HEADS)
def request_head(request: RequestHead, netloc: str, remote_ip: str, token_is_ours: bool) -> bytes:
    """The request's head for the function at `netloc`, complete except for `id_line`.

    Its body is framed as the client's. A token for the dispatcher is not forwarded.
    """
    headers = request.headers
    drop = _dropped(_NOR_THE_TOKEN if token_is_ours else _NOT_FOR_FUNCTIONS, headers)
    before = headers.get("X-Forwarded-For")
    lines = [f"{request.method} {target(request)} HTTP/1.1", f"Host: {netloc}"]
    lines += [f"{name}: {value}" for name, value in request.fields if name not in drop]
    if request.length is None:
        lines.append("Transfer-Encoding: chunked")
    elif request.length or "Content-Length" in headers:
        lines.append(f"Content-Length: {request.length}")
    lines.append(f"X-Forwarded-For: {before + ', ' if before else ''}{remote_ip}")
    # a proxy in front of the dispatcher knows better which host and scheme the client used
    if "X-Forwarded-Host" not in headers:
        lines.append(f"X-Forwarded-Host: {headers.get('Host', '')}")
    if "X-Forwarded-Proto" not in headers:
        lines.append("X-Forwarded-Proto: http")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


@lru_cache(CACHED_HEADS)
def response_head(head: ResponseHead, framing: str) -> bytes:
    """The response's head for the client, complete except for `id_line`.

    `framing` are the header lines about the body's encoding and the connection.
    """
    drop = _dropped(_NOT_FOR_CLIENTS, head.headers)
    lines = [f"HTTP/1.1 {head.status} {head.reason}"]
    lines += [f"{name}: {value}" for name, value in head.fields if name not in drop]
    if head.length is not None and head.status != 204:
        lines.append(f"Content-Length: {head.length}")
    return ("\r\n".join(lines) + "\r\n" + framing).encode("latin-1")


def id_line(id_: str) -> bytes:
    """The last line of a head, and the blank line that ends it."""
    return f"X-Request-Id: {id_}\r\n\r\n".encode()


def _dropped(always: frozenset[str], headers: Mapping[str, str]) -> frozenset[str]:
    """Names of the headers not to forward: `always`, and those that `Connection` lists."""
    if "Connection" not in headers:
        return always
    return always | {name.strip().title() for name in headers["Connection"].split(",")}
