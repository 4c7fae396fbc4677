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
    USER_AGENT,
    Access,
    Origin,
    may_see_credentials,
    origin,
)
from fob.marathon.direct import CHUNK_BYTES, OpenSockets
from fob.marathon.errors import NoConnection, causes

_NOT_CONNECTED = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)
_TIMED_OUT = (requests.exceptions.ReadTimeout, urllib3.exceptions.ReadTimeoutError)


class RemoteClient:
    """A `requests.Session` for up to `connections` threads at once.

    `timeouts` are seconds: to connect, and for each read. Every failure is an `OSError` or a
    `ValueError`. Sharing the session between threads is safe: the one part of it that is not
    thread-safe, its cookie jar, stays empty.
    """

    def __init__(
        self, access: Access, timeouts: tuple[float, float], sockets: OpenSockets, connections: int
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

    def request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
        trusted: str,
    ) -> "RemoteResponse":
        """Send a request and return the response, its body unread.

        Credentials are added if those for `trusted` may be sent to `url`.
        """
        auth = _Credentials(self._access, trusted)
        request = requests.Request(method, url, headers, data=data, auth=auth)
        prepared = self._session.prepare_request(request)
        settings = self._settings_for(url)
        adapter = self._session.get_adapter(url)
        # not Session.send, which would process cookies and hooks and follow redirects
        with _errors_translated():
            return RemoteResponse(adapter.send(prepared, timeout=self._timeouts, **settings))

    def close(self) -> None:
        """Close the idle connections."""
        self._session.close()

    def _settings_for(self, url: str) -> dict[str, Any]:
        """Return the proxies and CA for the server of `url`, from the environment if it counts."""
        server = origin(url)
        if server not in self._settings:
            # The CA is passed here because REQUESTS_CA_BUNDLE would override Session.verify.
            merged = self._session.merge_environment_settings(
                url, {}, True, self._access.ca or True, None
            )
            self._settings[server] = {**merged}
        return self._settings[server]


class RemoteResponse:
    """A response whose body is read as it arrives."""

    def __init__(self, response: requests.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self._response = response

    def close(self) -> None:
        """Release the connection."""
        self._response.close()

    def iter_bytes(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        raw = self._response.raw
        while True:
            with _errors_translated():
                chunk = raw.read1(CHUNK_BYTES, decode_content=True)
            if not chunk:
                return
            yield chunk


@contextmanager
def _errors_translated() -> Iterator[None]:
    """Raise built-in errors in place of those of requests and urllib3.

    Callers cannot name the latter without importing these libraries.
    """
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
    """Adds the credentials to requests to `home`, and to no others.

    As these requests have an `auth`, requests does not look up ~/.netrc for them.
    """

    def __init__(self, access: Access, home: str) -> None:
        self._access = access
        self._home = home

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._access.authorization and may_see_credentials(self._home, request.url or ""):
            request.headers["Authorization"] = self._access.authorization
        return request


class _Adapter(HTTPAdapter):
    """An adapter that adds every new connection to `sockets`. It never retries."""

    def __init__(self, sockets: OpenSockets, connections: int) -> None:
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


def _pools(sockets: OpenSockets) -> dict[str, type[HTTPConnectionPool]]:
    """Return the pool classes by scheme; their connections add themselves to `sockets`."""

    class Registered:
        sock: Any

        def connect(self) -> None:
            super().connect()  # type: ignore[misc]
            sockets.add(self.sock)

    class Plain(Registered, HTTPConnection):
        pass

    class Secure(Registered, HTTPSConnection):
        pass

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _session(access: Access, sockets: OpenSockets, connections: int) -> requests.Session:
    session = requests.Session()
    # HTTP_PROXY, HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE apply to a remote Marathon only
    session.trust_env = not access.loopback
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["User-Agent"] = USER_AGENT
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(sockets, connections))
    return session
