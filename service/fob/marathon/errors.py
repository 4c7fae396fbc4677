"""One error class per way in which Marathon can fail, with Marathon's own words in the message.

MarathonError                 500, or a response that is not Marathon's
|-- TlsFailed                 TLS was not established: nothing was sent
|-- MarathonRefused           400, 401, 403, 404 of a gateway, 415, 422, redirects: not carried out
|-- MarathonBusy
|   |-- Throttled             403 "Max number", 429: not carried out
|   |-- Crowded               none of our threads was free: not carried out
|   `-- Unavailable           502, 503: may have been carried out
`-- MarathonSilent            no response in time, 504: may have been carried out
    |-- MarathonUnreachable   no connection: nothing was sent
    `-- Dropped               the connection broke during the exchange: may have been carried out
Conflict
|-- AlreadyExists             409, an app has this id: not carried out
`-- Locked                    409, another deployment locks the app: not carried out
AppNotFound                   404 in Marathon's own form
"""

import json
import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from fob.errors import (
    AppNotFound,
    Conflict,
    FobError,
    MarathonBusy,
    MarathonError,
    MarathonRefused,
    MarathonSilent,
)
from fob.marathon.access import without_credentials

MAX_QUOTED_CHARACTERS = 600  # of a response, in an error message
RETRY_AFTER = "5"

# (class, code or None for the class's own, advice)
_Classification = tuple[type[FobError], str | None, str]


class TlsFailed(MarathonError):
    code = "marathon_tls"


class Throttled(MarathonBusy):
    pass


class Crowded(MarathonBusy):
    pass


class Unavailable(MarathonBusy):
    pass


class MarathonUnreachable(MarathonSilent):
    code = "marathon_unreachable"


class Dropped(MarathonSilent):
    code = "marathon_dropped"


class NoConnection(OSError):
    """No connection was made, so nothing was sent."""


class AlreadyExists(Conflict):
    code = "app_exists"


class Locked(Conflict):
    code = "app_locked"


@dataclass(frozen=True)
class MarathonResponse:
    """A complete HTTP response, and the request it belongs to."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request(self) -> str:
        """Method and path of the request, for messages: `GET /v2/apps/x`."""
        return f"{self.method} {urlsplit(self.url).path}"

    @property
    def data(self) -> Any:
        """The JSON body; None when it is not JSON.

        Mesos copies the bytes of files into it; bytes that are not UTF-8 become surrogates.
        """
        try:
            return json.loads(self.body.decode("utf-8", "surrogateescape"))
        except ValueError:
            return None


def json_of(response: MarathonResponse) -> Any:
    """Return the JSON of a successful response. Raises the error of any other."""
    if not 200 <= response.status < 300:
        raise status_error(response)
    if (data := response.data) is None:
        raise MarathonError(
            f"{response.request} returned {response.status} with a body that is not JSON"
            f" ({quoted(response) or 'empty'}). Is MARATHON_API the URL of a Marathon?",
            code="marathon_unintelligible",
        )
    return data


def status_error(response: MarathonResponse) -> FobError:
    """Return the error for a response whose status is not a success."""
    kind, code, advice = _classify(response)
    text = quoted(response) or "no reason given"
    return kind(
        f"Marathon returned {response.status} for {response.request}: {text.rstrip('.')}. {advice}",
        code=code,
        details={"status": response.status, "marathon": response.data},
        headers=_retry_after(response) if issubclass(kind, MarathonBusy | Locked) else None,
    )


def status_of(error: FobError) -> int:
    """Return the HTTP status of a `status_error`; 0 for any other error."""
    return error.details.get("status", 0) if isinstance(error.details, dict) else 0


def _classify(response: MarathonResponse) -> _Classification:
    status, text = response.status, quoted(response)
    if 300 <= status < 400:
        return MarathonRefused, "marathon_redirects", _redirect_advice(response)
    if status == 401:
        return (
            MarathonRefused,
            "marathon_unauthorized",
            (
                "Set FOB_MARATHON_TOKEN, or FOB_MARATHON_USER and FOB_MARATHON_PASSWORD;"
                " a DC/OS token expires: get a new one"
            ),
        )
    if status == 429 or (status == 403 and "Max number" in text):
        return Throttled, None, "Try again when other deployments are done"
    if status == 403:
        return MarathonRefused, "marathon_forbidden", "Ask for permission to do this on that app"
    if status == 404:
        return _classify_not_found(response)
    if status == 409 and "already exists" in text:
        return AlreadyExists, None, "Choose another id"
    if status == 409:
        return Locked, None, "Try again when that deployment is done"
    return _classify_by_status(status)


def _classify_not_found(response: MarathonResponse) -> _Classification:
    if isinstance(response.data, dict) and "message" in response.data:
        return AppNotFound, None, "It may have been removed"
    advice = "This is not Marathon's own 404: is MARATHON_API right?"
    return MarathonRefused, "marathon_not_found", advice


def _classify_by_status(status: int) -> _Classification:
    if status in (502, 503):
        return Unavailable, None, "Try again in a moment"
    if status == 504:
        return MarathonSilent, None, "Try again in a moment"
    if status >= 500:
        return MarathonError, None, "Marathon's log has the details"
    return MarathonRefused, None, "Correct the request and try again"


def _redirect_advice(response: MarathonResponse) -> str:
    try:
        target = without_credentials(urlsplit(response.headers.get("Location", "")))
    except ValueError:
        target = "an invalid URL"
    return f"It redirects to {target or 'nowhere'}: set MARATHON_API to Marathon's real URL"


def _retry_after(response: MarathonResponse) -> dict[str, str]:
    given = response.headers.get("Retry-After", "")
    return {"Retry-After": given if given.isascii() and given.isdigit() else RETRY_AFTER}


def quoted(response: MarathonResponse) -> str:
    """Return Marathon's own words on one line, shortened if need be; "" for an empty body."""
    data = response.data
    text = "; ".join(_sentences(data)) if isinstance(data, dict | list) else ""
    text = text or _plain(response.body.decode("utf-8", "replace"))
    return text if len(text) <= MAX_QUOTED_CHARACTERS else text[: MAX_QUOTED_CHARACTERS - 3] + "..."


def _sentences(data: Any) -> Iterator[str]:
    """Yield the messages in an error body, in any of the shapes that Marathon's versions use."""
    if isinstance(data, list):
        for item in data:
            yield from _sentences(item)
    elif not isinstance(data, dict):
        yield _plain(str(data))
    elif where := data.get("path") or data.get("attribute"):
        yield f"{where}: {', '.join(_sentences(data.get('errors') or data.get('error') or '?'))}"
    else:
        for key in ("message", "details", "errors", "error"):
            yield from _sentences(data.get(key) or [])
        yield from (f"deployment {d['id']}" for d in _deployments(data))


def _deployments(data: dict[str, Any]) -> list[dict[str, Any]]:
    listed = data.get("deployments")
    return (
        [d for d in listed if isinstance(d, dict) and "id" in d] if isinstance(listed, list) else []
    )


def _plain(text: str) -> str:
    """Return the text on one line, and only the visible text of an HTML page."""
    if re.search(r"<(html|head|body|title|!doctype)\b", text, re.IGNORECASE):
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->", " ", text)
        text = unescape(re.sub(r"<[^>]*>", " ", text))
    return " ".join(text.split())


def request_error(error: Exception, method: str, url: str) -> FobError:
    """Return the error for a request without a complete response.

    `error` is `NoConnection` when nothing was sent, `TimeoutError`, or any other exception.
    """
    chain = list(causes(error))
    address = urlsplit(url).netloc.rpartition("@")[2]
    if tls := next((c for c in chain if _is_tls_failure(c)), None):
        return _tls_failed(address, tls)
    if any(isinstance(c, NoConnection) for c in chain):
        return MarathonUnreachable(
            f"Marathon at {address} cannot be reached ({_reason(chain)})."
            " Is it running, and is MARATHON_API right?"
        )
    request = f"{method} {urlsplit(url).path}"
    if any(isinstance(c, TimeoutError) for c in chain):
        return MarathonSilent(
            f"Marathon at {address} did not respond to {request} in time. Try again in a moment"
        )
    return Dropped(
        f"Marathon at {address} sent no complete response to {request} ({_reason(chain)})."
        " Try again in a moment"
    )


def _is_tls_failure(error: BaseException) -> bool:
    # an EOF may come after the request was sent; every other TLS failure comes before
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)


def _tls_failed(address: str, error: BaseException) -> FobError:
    text = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return TlsFailed(
        f"TLS with Marathon at {address} failed: {text}. If its certificate is signed by your own"
        " CA, name the CA's PEM file in FOB_MARATHON_CA; the certificate must name the URL's host"
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and every error it wraps, outermost first.

    requests and urllib3 nest errors in their arguments and in `reason`, as well as by `raise from`.
    """
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            waiting += [
                getattr(cause, "reason", None),
                cause.__cause__,
                cause.__context__,
                *cause.args,
            ]


def reason(error: BaseException) -> str:
    """Return why a request failed, in the operating system's words where it has some."""
    return _reason(list(causes(error)))


def _reason(chain: list[BaseException]) -> str:
    texts = [c.strerror for c in chain if isinstance(c, OSError) and c.strerror]
    return texts[-1] if texts else str(chain[-1]) or type(chain[-1]).__name__
