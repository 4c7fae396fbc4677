"""The service's HTTP API, used with the standard library alone."""

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from fob.cli.errors import ServiceError, ServiceUnreachable
from fob.errors import BadRequest, FobError

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 90.0  # longer than the service waits for Marathon before it reports an error
CHUNK_BYTES = 65536


@dataclass(frozen=True)
class ServiceResponse:
    status: int
    content_type: str
    body: bytes

    @property
    def is_json(self) -> bool:
        return self.content_type.startswith("application/json")

    def json(self) -> Any:
        """Return the body as JSON. Raises `FobError` if it is not: this is another server."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise FobError("the response is not JSON; is fob running at this address?") from None

    def error(self) -> Mapping[str, Any]:
        """Return the `error` member of the body; an empty mapping when there is none."""
        try:
            error = json.loads(self.body)["error"]
        except (ValueError, LookupError, TypeError):
            return {}
        return error if isinstance(error, dict) else {"message": str(error)}


class Service:
    """The service at `url`. Each request uses a new connection."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url if "://" in url else f"http://{url}"
        self._parts = urlsplit(self.url)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise BadRequest(f"{url!r} is not a URL of a service; give http://HOST:PORT")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, query: Any = ()) -> Any:
        """Return the JSON of a GET. Raises `ServiceError` for a status of 400 or more."""
        return self.expect("GET", path, query).json()

    def expect(self, method: str, path: str, query: Any = (), **more: Any) -> ServiceResponse:
        """Do what `send` does, but raise `ServiceError` for a status of 400 or more."""
        response = self.send(method, path, query, **more)
        if response.status >= 400:
            raise ServiceError(response.status, response.error())
        return response

    def send(
        self,
        method: str,
        path: str,
        query: Any = (),
        *,
        body: bytes | None = None,
        content_type: str = "",
        timeout: float | None = READ_TIMEOUT,
    ) -> ServiceResponse:
        """Send a request and return the response, whatever its status.

        `query` is an argument of `urlencode`; `timeout` is in seconds for each read, None for no
        limit. Raises `ServiceUnreachable`.
        """
        connection = self._connect()
        try:
            response = self._request(connection, method, path, query, body, content_type, timeout)
            kind = response.headers.get("Content-Type", "")
            return ServiceResponse(response.status, kind, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        finally:
            connection.close()

    def stream(self, path: str, query: Any = ()) -> Iterator[bytes]:
        """Yield the body of a GET as it arrives. Raises what `expect` raises."""
        connection = self._connect()
        try:
            response = self._request(connection, "GET", path, query, None, "", None)
            if response.status >= 400:
                whole = ServiceResponse(response.status, "", response.read())
                raise ServiceError(response.status, whole.error())
            while chunk := response.read1(CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        finally:
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._parts.netloc.rpartition("@")[2], timeout=CONNECT_TIMEOUT)
        try:
            connection.connect()
        except OSError as error:
            raise ServiceUnreachable(
                f"cannot connect to the service at {self.url} ({error.strerror or error});"
                " start it with `fob serve`, or name another with --url or FOB_URL"
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
        timeout: float | None,
    ) -> http.client.HTTPResponse:
        connection.sock.settimeout(timeout)
        query_string = urlencode(query)
        target = self._parts.path.rstrip("/") + path + ("?" + query_string if query_string else "")
        headers = dict(self._headers)
        if content_type:
            headers["Content-Type"] = content_type
        connection.request(method, target, body=body, headers=headers)
        return connection.getresponse()

    def _broken(self, error: Exception) -> ServiceUnreachable:
        return ServiceUnreachable(
            f"the service at {self.url} did not send a complete response: {error!r}"
        )
