"""The service as the command line sees it: its HTTP API, with the standard library alone."""

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from fob.cli.failures import RefusedByService, ServiceUnreachable
from fob.errors import BadRequest, FobError

CONNECT_SECONDS = 5.0
PATIENCE_SECONDS = 90.0  # the service gives up on Marathon, and says so, before that


@dataclass(frozen=True)
class ServiceResponse:
    status: int
    content_type: str
    body: bytes

    @property
    def is_json(self) -> bool:
        return self.content_type.startswith("application/json")

    def json(self) -> Any:
        """The body as JSON. Raises `FobError` when it is none: this is not fob's service."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise FobError("the answer is not JSON; is that fob at this address?") from None

    def error(self) -> Mapping[str, Any]:
        """The `error` member of the body, empty when there is none."""
        try:
            found = json.loads(self.body)["error"]
        except (ValueError, LookupError, TypeError):
            return {}
        return found if isinstance(found, dict) else {"message": str(found)}


class Service:
    """One service, at `url`; each request is a connection of its own."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url if "://" in url else f"http://{url}"
        self._parts = urlsplit(self.url)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise BadRequest(f"{url!r} is not a URL of a service; give http://HOST:PORT")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, query: Any = (), patience: float | None = PATIENCE_SECONDS) -> Any:
        """The JSON of a GET. Raises `Refused` for a status of 400 or more."""
        return self.expect("GET", path, query, patience=patience).json()

    def expect(self, method: str, path: str, query: Any = (), **more: Any) -> ServiceResponse:
        """`send`, with a status of 400 or more raised as `Refused`."""
        answer = self.send(method, path, query, **more)
        if answer.status >= 400:
            raise RefusedByService(answer.status, answer.error())
        return answer

    def send(
        self,
        method: str,
        path: str,
        query: Any = (),
        *,
        body: bytes | None = None,
        content_type: str = "",
        patience: float | None = PATIENCE_SECONDS,
    ) -> ServiceResponse:
        """One request and its whole answer, whatever the status; `query` as `urlencode` takes it.

        `patience` is how many seconds the service may be silent; None: for ever.
        Raises `Unreachable`.
        """
        connection = self._connect()
        try:
            reply = self._request(connection, method, path, query, body, content_type, patience)
            return ServiceResponse(
                reply.status, reply.headers.get("Content-Type", ""), reply.read()
            )
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        finally:
            connection.close()

    def stream(self, path: str, query: Any = ()) -> Iterator[bytes]:
        """The body of a GET in pieces as they come. Raises like `expect`."""
        connection = self._connect()
        try:
            reply = self._request(connection, "GET", path, query, None, "", None)
            if reply.status >= 400:
                answer = ServiceResponse(reply.status, "", reply.read())
                raise RefusedByService(reply.status, answer.error())
            while piece := reply.read1(65536):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._parts.netloc.rpartition("@")[2], timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError as error:
            raise ServiceUnreachable(
                f"nothing answers at {self.url} ({error.strerror or error}); "
                "start the service with `fob serve`, or name another with --url or FOB_URL"
            ) from error
        return connection

    def _request(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Any,
        body: bytes | None,
        content_type: str,
        patience: float | None,
    ) -> http.client.HTTPResponse:
        connection.sock.settimeout(patience)
        query_string = urlencode(query)
        target = self._parts.path.rstrip("/") + path + ("?" + query_string if query_string else "")
        headers = dict(self._headers)
        if content_type:
            headers["Content-Type"] = content_type
        connection.request(method, target, body=body, headers=headers)
        return connection.getresponse()

    def _broken(self, error: Exception) -> ServiceUnreachable:
        return ServiceUnreachable(f"the service at {self.url} did not finish its answer: {error!r}")
