"""Blocking HTTP to one Marathon: pooled connections, credentials, TLS, redirects, a way to end it.

Safe to share between threads: the one part of a `requests.Session` that is not, its cookie jar, is
never filled. `close` ends what other threads have in flight.
"""

import contextlib
import functools
import json
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from fob import __version__
from fob.errors import MarathonError
from fob.marathon.access import Access, Origin, may_see_credentials, origin
from fob.marathon.refusals import Answer, refusal, result, unanswered

MAX_REDIRECTS = 5
CHUNK_BYTES = 65536
# a thousand functions whole are about 70 MB
ANSWER_BYTES = 256 * 1024 * 1024


class Wire:
    """The connections to one Marathon. `send` and `stream` block; every failure is a `FobError`."""

    def __init__(self, access: Access, connections: int, read_timeout: float = 0.0) -> None:
        self.access = access
        self._timeout = (access.connect_timeout, read_timeout or access.read_timeout)
        self._sockets = _Sockets()
        self._session = _session(access, self._sockets, connections)
        self._headers = {**self._session.headers}
        self._settings: dict[Origin, dict[str, Any]] = {}

    def close(self) -> None:
        """End every connection, those in use by other threads too. Idempotent."""
        self._sockets.close()
        self._session.close()

    def send(
        self,
        method: str,
        url: str,
        params: dict[str, Any] | None = None,
        body: Any = None,
        first: Callable[[], None] | None = None,
    ) -> Any:
        """Send `body` as JSON and return the JSON of the answer.

        `first` is called when all is ready to be sent; what it raises is raised, and nothing is
        sent. Only a GET follows redirects: what else was redirected has not been done.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        with self._open(method, url, headers, params=params, data=data, first=first) as response:
            content = self._read(response, method)
        return result(Answer(method, url, response.status_code, response.headers, content))

    def stream(
        self, url: str, params: dict[str, Any], headers: dict[str, str]
    ) -> requests.Response:
        """Open the event stream at `url`; the caller reads `.raw` and closes it."""
        response = self._open("GET", url, headers, params=params, leader=True)
        kind = response.headers.get("Content-Type", "")
        if response.status_code == 200 and kind.startswith("text/event-stream"):
            return response
        with response:
            answer = Answer(
                "GET", url, response.status_code, response.headers, self._read(response, "GET")
            )
        if answer.status != 200:
            raise refusal(answer)
        raise MarathonError(f"Marathon answered {answer.asked} with {kind}, not with events")

    def _open(
        self, method: str, url: str, headers: dict[str, str], leader: bool = False, **request: Any
    ) -> requests.Response:
        """The answer's head, after redirects. `leader`: it may lead to Marathon's leader."""
        auth: AuthBase | None = None
        for _ in range(MAX_REDIRECTS):
            response = self._exchange(method, url, headers, auth=auth, **request)
            if method != "GET" or not response.is_redirect:
                return response
            response.close()
            with _told(method, url):
                url = _target(response)
            request["params"] = None
            auth = self._leader_auth(url) if leader else None
        raise MarathonError(
            f"Marathon at {self.access.place} redirects in a circle (last to {url});"
            " is MARATHON_API right?",
            code="marathon_redirects",
        )

    def _exchange(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        first: Callable[[], None] | None = None,
        **request: Any,
    ) -> requests.Response:
        with _told(method, url):
            prepared = self._prepared(method, url, headers, **request)
            settings = self._settings_for(str(prepared.url))
            adapter = self._session.get_adapter(str(prepared.url))
        if first:
            first()
        with _told(method, url):
            # not the session's own `send`: it would look for cookies, hooks and the next redirect
            return adapter.send(prepared, timeout=self._timeout, **settings)

    def _prepared(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        params: dict[str, Any] | None = None,
        data: bytes | None = None,
        auth: AuthBase | None = None,
    ) -> requests.PreparedRequest:
        """The request, without what a session would work out again for each, at a third of the cost
        of an exchange: settings that do not change."""
        prepared = requests.PreparedRequest()
        prepared.prepare_method(method)
        prepared.url = _whole(url, tuple((params or {}).items()))
        prepared.prepare_headers(self._headers | headers)
        prepared.prepare_cookies(self._session.cookies)
        prepared.prepare_body(data, None)
        prepared.prepare_auth(auth or self._session.auth, str(prepared.url))
        prepared.prepare_hooks({})
        return prepared

    def _settings_for(self, url: str) -> dict[str, Any]:
        """Proxies and trust for the server of `url`, from the environment where that counts."""
        place = origin(url)
        if place not in self._settings:
            # ca: given here because the session's own value loses to REQUESTS_CA_BUNDLE
            merged = self._session.merge_environment_settings(
                url, {}, True, self.access.ca or True, None
            )
            self._settings[place] = {**merged}
        return self._settings[place]

    def _read(self, response: requests.Response, method: str) -> bytes:
        """The whole body within one read timeout: one that trickles must not hold a thread."""
        if response.is_redirect:
            return response.content
        deadline = time.monotonic() + self._timeout[1]
        content = bytearray()
        with _told(method, response.url):
            while data := response.raw.read1(CHUNK_BYTES, decode_content=True):
                content += data
                if len(content) > ANSWER_BYTES:
                    raise _endless(response.url)
                if time.monotonic() > deadline:
                    raise TimeoutError("the answer trickles")
        return bytes(content)

    def _leader_auth(self, url: str) -> AuthBase | None:
        """Credentials for `url` when it is Marathon's leader, by the word of our own Marathon."""
        target = urlsplit(url)
        if may_see_credentials(self.access.url, url) or target.scheme != self.access.scheme:
            return None
        leader = self.send("GET", f"{self.access.url}/v2/leader")
        return _Credentials(self.access, url) if leader == {"leader": target.netloc} else None


class _Credentials(AuthBase):
    """Puts the credentials on requests to their home and on no other.

    Being the session's auth it also keeps requests from looking into ~/.netrc.
    """

    def __init__(self, access: Access, home: str) -> None:
        self._access = access
        self._home = home

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._access.authorization and may_see_credentials(self._home, request.url or ""):
            request.headers["Authorization"] = self._access.authorization
        return request


class _Sockets:
    """The open sockets of one session, so that closing it wakes the threads that wait on them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._closed = False

    def add(self, connection: HTTPConnection) -> None:
        """Remember the connection's socket. Raises OSError when it comes too late."""
        with self._lock:
            if self._closed:
                connection.close()
                raise ConnectionAbortedError("the Marathon client is closed")
            self._open.add(connection.sock)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for sock in self._open:
                with contextlib.suppress(OSError):
                    # not SSLSocket's own shutdown: it would undo TLS under the reader
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """An adapter that tells `sockets` of every connection. It repeats nothing by itself."""

    def __init__(self, sockets: _Sockets, connections: int) -> None:
        self._pools = _pools(sockets)
        super().__init__(pool_connections=4, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager


class _InOnePiece:
    """A connection that sends a request's head and body together: whoever is sent them one after
    the other is woken for the head, and then waits."""

    _pieces: list[bytes] | None = None

    def request(self, *args: Any, **options: Any) -> None:
        self._pieces = []
        try:
            super().request(*args, **options)  # type: ignore[misc]
            whole = b"".join(self._pieces)
        finally:
            self._pieces = None
        self.send(whole)

    def send(self, data: Any) -> None:
        if self._pieces is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._pieces.append(data)


def _pools(sockets: _Sockets) -> dict[str, type[HTTPConnectionPool]]:
    class Plain(_InOnePiece, HTTPConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self)

    class Secure(_InOnePiece, HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            sockets.add(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _session(access: Access, sockets: _Sockets, connections: int) -> requests.Session:
    session = requests.Session()
    # HTTP_PROXY, HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE count for a Marathon elsewhere
    session.trust_env = not access.loopback
    session.auth = _Credentials(access, access.url)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["User-Agent"] = f"fob/{__version__}"
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(sockets, connections))
    return session


@functools.lru_cache(maxsize=256)
def _whole(url: str, params: tuple[tuple[str, Any], ...]) -> str:
    """The URL as it is sent; the same few are asked for again and again."""
    prepared = requests.PreparedRequest()
    prepared.prepare_url(url, dict(params))
    return str(prepared.url)


@contextlib.contextmanager
def _told(method: str, url: str) -> Iterator[None]:
    """Failures of an exchange as `FobError`s."""
    try:
        yield
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
        raise unanswered(error, method, url) from error


def _target(response: requests.Response) -> str:
    """Where a redirect leads; credentials written into it are not ours to use."""
    parts = urlsplit(urljoin(response.url, response.headers["Location"]))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _endless(url: str) -> MarathonError:
    return MarathonError(
        f"The answer for {urlsplit(url).path} has more than {ANSWER_BYTES} bytes."
        " Is MARATHON_API the URL of a Marathon?",
        code="marathon_unintelligible",
    )
