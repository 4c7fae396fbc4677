"""Blocking HTTP to one Marathon: directly to one on this machine, through requests to all others.

Safe to share between threads. `close` ends the exchanges of other threads.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urljoin, urlsplit, urlunsplit

from fob.errors import MarathonError
from fob.marathon.access import Access, may_see_credentials, origin
from fob.marathon.direct import DirectClient, DirectResponse, OpenSockets
from fob.marathon.errors import (
    MarathonResponse,
    json_of,
    request_error,
    status_error,
)

if TYPE_CHECKING:
    from fob.marathon.remote import RemoteClient, RemoteResponse

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
# a thousand functions with their whole environments are about 70 MB
MAX_RESPONSE_BYTES = 256 * 1024 * 1024

StreamedResponse: TypeAlias = "DirectResponse | RemoteResponse"


class BlockingHttp:
    """The connections to one Marathon. Every failure of `send` and `stream` is a `FobError`.

    `read_timeout` replaces the one of `access`.
    """

    def __init__(self, access: Access, connections: int, read_timeout: float = 0.0) -> None:
        self.access = access
        self._read_timeout = read_timeout or access.read_timeout
        self._timeouts = access.connect_timeout, self._read_timeout
        self._connections = connections
        self._sockets = OpenSockets()
        self._direct = (
            DirectClient(access, self._timeouts, self._sockets) if access.direct else None
        )
        self._home = origin(access.url)
        self._remote: RemoteClient | None = None
        self._remote_lock = threading.Lock()
        if not self._direct:
            self._remote_client()

    def close(self) -> None:
        """End every connection, including those that other threads use. Idempotent."""
        self._sockets.close()
        if self._remote:
            self._remote.close()
        if self._direct:
            self._direct.close()

    def send(
        self,
        method: str,
        url: str,
        params: dict[str, Any] | None = None,
        body: Any = None,
    ) -> Any:
        """Send a request and return the JSON of its response.

        `body` is JSON as bytes, or a value to serialise. Only a GET follows redirects: any other
        request that is redirected has not been carried out.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        with closing(self._open(method, url, headers, params, data)) as response:
            return json_of(self._read(method, url, response))

    def stream(self, url: str, params: dict[str, Any], headers: dict[str, str]) -> StreamedResponse:
        """Open the event stream at `url`; the caller reads the response and closes it."""
        response = self._open("GET", url, headers, params, follow_leader=True)
        kind = response.headers.get("Content-Type", "")
        if response.status == 200 and kind.startswith("text/event-stream"):
            return response
        with closing(response):
            whole = self._read("GET", url, response)
        if whole.status != 200:
            raise status_error(whole)
        raise MarathonError(f"Marathon sent {kind} for {whole.request} instead of an event stream")

    def _open(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        params: dict[str, Any] | None = None,
        data: bytes | None = None,
        follow_leader: bool = False,
    ) -> StreamedResponse:
        """Send a request, follow redirects and return the response, its body unread.

        With `follow_leader`, a redirect to Marathon's leader gets the credentials too.
        """
        trusted = self.access.url
        with errors_translated(method, url):
            url = self._whole_url(url, params)
        for _ in range(MAX_REDIRECTS):
            with errors_translated(method, url):
                response = self._request(method, url, headers, data, trusted)
            redirected = response.status in REDIRECTS and "Location" in response.headers
            if method != "GET" or not redirected:
                return response
            with errors_translated(method, url), closing(response):
                url = self._whole_url(_redirect_target(url, response.headers["Location"]))
            if follow_leader and self._is_leader(url):
                trusted = url
        raise MarathonError(
            f"Marathon at {self.access.address} redirects in a circle (last to {url});"
            " is MARATHON_API right?",
            code="marathon_redirects",
        )

    def _request(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
        trusted: str,
    ) -> StreamedResponse:
        if direct := self._direct_to(url):
            return direct.request(method, url, headers, data)
        return self._remote_client().request(method, url, headers, data, trusted)

    def _whole_url(self, url: str, params: dict[str, Any] | None = None) -> str:
        client = self._direct_to(url) or self._remote_client()
        return client.whole_url(url, tuple((params or {}).items()))

    def _direct_to(self, url: str) -> DirectClient | None:
        return self._direct if origin(url) == self._home else None

    def _remote_client(self) -> "RemoteClient":
        """Return the client for every server that the direct one does not reach.

        Next to a direct client it is needed only after a redirect to another server, so requests is
        imported then and not before.
        """
        with self._remote_lock:
            if not self._remote:
                from fob.marathon.remote import RemoteClient

                self._remote = RemoteClient(
                    self.access, self._timeouts, self._sockets, self._connections
                )
            return self._remote

    def _read(self, method: str, url: str, response: StreamedResponse) -> MarathonResponse:
        """Read the whole response.

        All of it must arrive within one read timeout: a server that sends a byte now and then would
        hold the thread forever.
        """
        deadline = time.monotonic() + self._read_timeout
        content = bytearray()
        with errors_translated(method, url):
            for data in response.iter_bytes():
                content += data
                if len(content) > MAX_RESPONSE_BYTES:
                    raise _too_long(url)
                if time.monotonic() > deadline:
                    raise TimeoutError("the response is too slow")
        return MarathonResponse(method, url, response.status, response.headers, bytes(content))

    def _is_leader(self, url: str) -> bool:
        """Return whether our own Marathon names the server of `url` as its leader."""
        target = urlsplit(url)
        if may_see_credentials(self.access.url, url) or target.scheme != self.access.scheme:
            return False
        leader = self.send("GET", f"{self.access.url}/v2/leader")
        return bool(leader == {"leader": target.netloc})


@contextmanager
def errors_translated(method: str, url: str) -> Iterator[None]:
    """Raise failures of an exchange as `FobError`s."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise request_error(error, method, url) from error


def _redirect_target(url: str, location: str) -> str:
    """Return the absolute URL of a redirect, without credentials: those are not ours to use."""
    parts = urlsplit(urljoin(url, location))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _too_long(url: str) -> MarathonError:
    return MarathonError(
        f"The response for {urlsplit(url).path} has more than {MAX_RESPONSE_BYTES} bytes."
        " Is MARATHON_API the URL of a Marathon?",
        code="marathon_unintelligible",
    )
