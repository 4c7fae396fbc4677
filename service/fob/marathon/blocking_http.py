"""Blocking HTTP to one Marathon: directly to one on this machine, through requests to all others.

Safe to share between threads. `close` ends what other threads have in flight.
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
from fob.marathon.direct import Direct, DirectReply, Sockets
from fob.marathon.errors import (
    MarathonResponse,
    refusal,
    result,
    unanswered,
)

if TYPE_CHECKING:
    from fob.marathon.remote import Remote, RemoteReply

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
# a thousand functions whole are about 70 MB
ANSWER_BYTES = 256 * 1024 * 1024

Reply: TypeAlias = "DirectReply | RemoteReply"


class BlockingHttp:
    """The connections to one Marathon. `send` and `stream` block; every failure is a `FobError`."""

    def __init__(self, access: Access, connections: int, read_timeout: float = 0.0) -> None:
        self.access = access
        self._read_seconds = read_timeout or access.read_timeout
        self._timeouts = access.connect_timeout, self._read_seconds
        self._connections = connections
        self._sockets = Sockets()
        self._direct = Direct(access, self._timeouts, self._sockets) if access.direct else None
        self._home = origin(access.url)
        self._remote: Remote | None = None
        self._making_remote = threading.Lock()
        if not self._direct:
            self._elsewhere()

    def close(self) -> None:
        """End every connection, those in use by other threads too. Idempotent."""
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
        """Send `body`, JSON as bytes or what shall become JSON, and return the JSON of the answer.

        Only a GET follows redirects: what else was redirected has not been done.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        with closing(self._open(method, url, headers, params, data)) as reply:
            return result(self._answer(method, url, reply))

    def stream(self, url: str, params: dict[str, Any], headers: dict[str, str]) -> Reply:
        """Open the event stream at `url`; the caller reads its pieces and closes it."""
        reply = self._open("GET", url, headers, params, leader=True)
        kind = reply.headers.get("Content-Type", "")
        if reply.status == 200 and kind.startswith("text/event-stream"):
            return reply
        with closing(reply):
            answer = self._answer("GET", url, reply)
        if answer.status != 200:
            raise refusal(answer)
        raise MarathonError(f"Marathon answered {answer.asked} with {kind}, not with events")

    def _open(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        params: dict[str, Any] | None = None,
        data: bytes | None = None,
        leader: bool = False,
    ) -> Reply:
        """The answer's head, after redirects. `leader`: it may lead to Marathon's leader."""
        trusted = self.access.url
        with told(method, url):
            url = self._whole(url, params)
        for _ in range(MAX_REDIRECTS):
            with told(method, url):
                reply = self._ask(method, url, headers, data, trusted)
            if method != "GET" or not (reply.status in REDIRECTS and "Location" in reply.headers):
                return reply
            with told(method, url), closing(reply):
                url = self._whole(_target(url, reply.headers["Location"]))
            if leader and self._leads(url):
                trusted = url
        raise MarathonError(
            f"Marathon at {self.access.place} redirects in a circle (last to {url});"
            " is MARATHON_API right?",
            code="marathon_redirects",
        )

    def _ask(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        data: bytes | None,
        trusted: str,
    ) -> Reply:
        """Send a request; the credentials go with it if `trusted` may see them."""
        if direct := self._direct_to(url):
            return direct.ask(method, url, headers, data)
        return self._elsewhere().ask(method, url, headers, data, trusted)

    def _whole(self, url: str, params: dict[str, Any] | None = None) -> str:
        """The URL with its query, as it is sent."""
        client = self._direct_to(url) or self._elsewhere()
        return client.whole_url(url, tuple((params or {}).items()))

    def _direct_to(self, url: str) -> Direct | None:
        return self._direct if origin(url) == self._home else None

    def _elsewhere(self) -> "Remote":
        """The client for every server that `Direct` does not reach.

        A direct client needs it only after a redirect to another machine, so requests is imported
        then and not before.
        """
        with self._making_remote:
            if not self._remote:
                from fob.marathon.remote import Remote

                self._remote = Remote(self.access, self._timeouts, self._sockets, self._connections)
            return self._remote

    def _answer(self, method: str, url: str, reply: Reply) -> MarathonResponse:
        """The whole of it within one read timeout: one that trickles must not hold a thread."""
        deadline = time.monotonic() + self._read_seconds
        content = bytearray()
        with told(method, url):
            for data in reply.pieces():
                content += data
                if len(content) > ANSWER_BYTES:
                    raise _endless(url)
                if time.monotonic() > deadline:
                    raise TimeoutError("the answer trickles")
        return MarathonResponse(method, url, reply.status, reply.headers, bytes(content))

    def _leads(self, url: str) -> bool:
        """True when Marathon's leader is there, by the word of our own Marathon."""
        target = urlsplit(url)
        if may_see_credentials(self.access.url, url) or target.scheme != self.access.scheme:
            return False
        leader = self.send("GET", f"{self.access.url}/v2/leader")
        return bool(leader == {"leader": target.netloc})


@contextmanager
def told(method: str, url: str) -> Iterator[None]:
    """Failures of an exchange as `FobError`s."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise unanswered(error, method, url) from error


def _target(url: str, location: str) -> str:
    """Where a redirect leads; credentials written into it are not ours to use."""
    parts = urlsplit(urljoin(url, location))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _endless(url: str) -> MarathonError:
    return MarathonError(
        f"The answer for {urlsplit(url).path} has more than {ANSWER_BYTES} bytes."
        " Is MARATHON_API the URL of a Marathon?",
        code="marathon_unintelligible",
    )
