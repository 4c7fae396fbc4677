"""Blocking HTTP to a remote Marathon, through requests: with TLS and proxies.

Import this module only when it is needed: requests takes 84 to 130 ms and 6.7 MB, which a service
with the embedded engine saves.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from fob.marathon.access import (
    AGENT,
    Access,
    Origin,
    may_see_credentials,
    origin,
)
from fob.marathon.direct import CHUNK_BYTES, Sockets
from fob.marathon.errors import NoConnection, causes

_NOT_CONNECTED = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)
_TIMED_OUT = (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError)


class Remote:
    """A `requests.Session` for up to `connections` threads at once.

    `timeouts` are seconds: to connect, and to wait for each read. Every failure is an `OSError` or
    a `ValueError`. Sharing the session between threads is safe: the one part of it that is not
    thread-safe, its cookie jar, stays empty.
    """

    def __init__(
        self, access: Access, timeouts: tuple[float, float], sockets: Sockets, connections: int
    ) -> None:
        self._access = access
        self._timeouts = timeouts
        self._session = _session(access, sockets, connections)
        self._settings: dict[Origin, dict[str, Any]] = {}

    @staticmethod
    @functools.lru_cache(maxsize=256)
    def whole_url(url: str, params: tuple[tuple[str, Any], ...]) -> str:
        """Return `url` with its query, normalised by requests. Raises `ValueError`."""
        request = requests.PreparedRequest()
        request.prepare_url(url, dict(params))
        return str(request.url)

    def ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
        trusted: str,
    ) -> "RemoteReply":
        """Send a request, with the credentials if `trusted` may see them."""
        auth = _Credentials(self._access, trusted)
        request = requests.Request(method, url, headers, data=data, auth=auth)
        prepared = self._session.prepare_request(request)
        settings = self._settings_for(url)
        adapter = self._session.get_adapter(url)
        # not Session.send, which would process cookies and hooks and follow redirects
        with _translated():
            return RemoteReply(adapter.send(prepared, timeout=self._timeouts, **settings))

    def close(self) -> None:
        """Close the connections that are kept."""
        self._session.close()

    def _settings_for(self, url: str) -> dict[str, Any]:
        """Proxies and trust for the server of `url`, from the environment where that counts."""
        place = origin(url)
        if place not in self._settings:
            # ca: given here because the session's own value loses to REQUESTS_CA_BUNDLE
            merged = self._session.merge_environment_settings(
                url, {}, True, self._access.ca or True, None
            )
            self._settings[place] = {**merged}
        return self._settings[place]


class RemoteReply:
    """An answer as it comes."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response

    def close(self) -> None:
        """Let go of it."""
        self._response.close()

    def pieces(self) -> Iterator[bytes]:
        """The body, each piece when it has come."""
        raw = self._response.raw
        while True:
            with _translated():
                piece = raw.read1(CHUNK_BYTES, decode_content=True)
            if not piece:
                return
            yield piece


@contextmanager
def _translated() -> Iterator[None]:
    """Raise errors of requests and urllib3, which callers do not import, as built-in ones."""
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        chain = list(causes(error))
        if any(isinstance(cause, _NOT_CONNECTED) for cause in chain):
            raise NoConnection(str(error)) from error
        if any(isinstance(cause, _TIMED_OUT) for cause in chain):
            raise TimeoutError(str(error)) from error
        raise ConnectionError(str(error)) from error


class _Credentials(AuthBase):
    """Puts the credentials on requests to their home and on no other.

    A request that has an auth is also one for which requests does not look into ~/.netrc.
    """

    def __init__(self, access: Access, home: str) -> None:
        self._access = access
        self._home = home

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._access.authorization and may_see_credentials(self._home, request.url or ""):
            request.headers["Authorization"] = self._access.authorization
        return request


class _Adapter(HTTPAdapter):
    """An adapter that tells `sockets` of every connection. It repeats nothing by itself."""

    def __init__(self, sockets: Sockets, connections: int) -> None:
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


def _pools(sockets: Sockets) -> dict[str, type[HTTPConnectionPool]]:
    class Known:
        sock: Any

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            sockets.add(self.sock)

    class Plain(Known, HTTPConnection):
        pass

    class Secure(Known, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _session(access: Access, sockets: Sockets, connections: int) -> requests.Session:
    session = requests.Session()
    # HTTP_PROXY, HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE count for a Marathon elsewhere
    session.trust_env = not access.loopback
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["User-Agent"] = AGENT
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(sockets, connections))
    return session
