"""What Marathon said no with, or did not say at all, as one clear error in its own words.

MarathonError                 500, or an answer that is not Marathon's
|-- TlsFailed                 no trust between us: nothing was sent
|-- MarathonRefused           400, 401, 403, 404 of a gateway, 415, 422, redirects: not carried out
|-- MarathonBusy
|   |-- Throttled             403 "Max number", 429: not carried out
|   |-- Crowded               no thread of ours was free: not carried out
|   `-- Unavailable           502, 503: carried out, or not
`-- MarathonSilent            no answer in time, 504: carried out, or not
    |-- Unreachable           no connection: nothing was sent
    `-- Dropped               the connection broke half-way: carried out, or not
Conflict
|-- AlreadyExists             409, an app has this id: not carried out
`-- Locked                    409, another deployment holds the app: not carried out
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

WORDS_LIMIT = 600
RETRY_AFTER = "5"


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
    """There is no connection: nothing was sent."""


class AlreadyExists(Conflict):
    code = "app_exists"


class Locked(Conflict):
    code = "app_locked"


@dataclass(frozen=True)
class MarathonResponse:
    """One HTTP answer, read to its end."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def asked(self) -> str:
        """What was asked, for messages: `GET /v2/apps/x`."""
        return f"{self.method} {urlsplit(self.url).path}"

    @property
    def data(self) -> Any:
        """The JSON body; None when it is not JSON.

        Mesos puts a file's bytes into it as they are; those that are no UTF-8 are surrogates then.
        """
        try:
            return json.loads(self.body.decode("utf-8", "surrogateescape"))
        except ValueError:
            return None


def result(answer: MarathonResponse) -> Any:
    """The JSON of a success; otherwise raise the refusal."""
    if not 200 <= answer.status < 300:
        raise refusal(answer)
    if (data := answer.data) is None:
        raise MarathonError(
            f"{answer.asked} was answered {answer.status} with what is not JSON"
            f" ({words(answer) or 'nothing'}). Is MARATHON_API the URL of a Marathon?",
            code="marathon_unintelligible",
        )
    return data


def refusal(answer: MarathonResponse) -> FobError:
    """The error for an answer that is not a success."""
    kind, code, advice = _verdict(answer)
    said = words(answer) or "no reason given"
    return kind(
        f"Marathon answered {answer.status} to {answer.asked}: {said.rstrip('.')}. {advice}",
        code=code,
        details={"status": answer.status, "marathon": answer.data},
        headers=_retry_after(answer) if issubclass(kind, MarathonBusy | Locked) else None,
    )


def _verdict(answer: MarathonResponse) -> tuple[type[FobError], str | None, str]:
    """(class, code or None for the class's own, what to do)."""
    status, said = answer.status, words(answer)
    if 300 <= status < 400:
        return MarathonRefused, "marathon_redirects", _redirect_advice(answer)
    if status == 401:
        return (
            MarathonRefused,
            "marathon_unauthorized",
            (
                "Set FOB_MARATHON_TOKEN, or FOB_MARATHON_USER and FOB_MARATHON_PASSWORD;"
                " a DC/OS token expires: get a new one"
            ),
        )
    if status == 429 or (status == 403 and "Max number" in said):
        return Throttled, None, "Try again when other deployments are done"
    if status == 403:
        return MarathonRefused, "marathon_forbidden", "Ask for the right to do this on that app"
    if status == 404:
        return _not_found(answer)
    if status == 409 and "already exists" in said:
        return AlreadyExists, None, "Choose another id"
    if status == 409:
        return Locked, None, "Try again when that deployment is done"
    return _failure(status)


def _not_found(answer: MarathonResponse) -> tuple[type[FobError], str | None, str]:
    if isinstance(answer.data, dict) and "message" in answer.data:
        return AppNotFound, None, "It may have been removed"
    advice = "That is not Marathon speaking: is MARATHON_API right?"
    return MarathonRefused, "marathon_not_found", advice


def _failure(status: int) -> tuple[type[FobError], str | None, str]:
    if status in (502, 503):
        return Unavailable, None, "Try again in a moment"
    if status == 504:
        return MarathonSilent, None, "Try again in a moment"
    if status >= 500:
        return MarathonError, None, "Marathon's log says more"
    return MarathonRefused, None, "Correct what it names and try again"


def _redirect_advice(answer: MarathonResponse) -> str:
    try:
        target = without_credentials(urlsplit(answer.headers.get("Location", "")))
    except ValueError:
        target = "what is not a URL"
    return f"It points to {target or 'nowhere'}: set MARATHON_API to where Marathon really is"


def _retry_after(answer: MarathonResponse) -> dict[str, str]:
    given = answer.headers.get("Retry-After", "")
    return {"Retry-After": given if given.isascii() and given.isdigit() else RETRY_AFTER}


def words(answer: MarathonResponse) -> str:
    """Marathon's own words on one line, at most `WORDS_LIMIT` characters; "" for an empty body."""
    data = answer.data
    said = "; ".join(_sentences(data)) if isinstance(data, dict | list) else ""
    said = said or _plain(answer.body.decode("utf-8", "replace"))
    return said if len(said) <= WORDS_LIMIT else said[: WORDS_LIMIT - 3] + "..."


def _sentences(data: Any) -> Iterator[str]:
    """What an error body says, in every shape Marathon's versions gave it."""
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
    """Text as it is; of an HTML page its words, on one line."""
    if re.search(r"<(html|head|body|title|!doctype)\b", text, re.IGNORECASE):
        text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->", " ", text)
        text = unescape(re.sub(r"<[^>]*>", " ", text))
    return " ".join(text.split())


def unanswered(error: Exception, method: str, url: str) -> FobError:
    """The error for a request that got no whole response.

    `error` is `NoConnection` when nothing was sent, `TimeoutError`, or any other exception.
    """
    chain = list(causes(error))
    place = urlsplit(url).netloc.rpartition("@")[2]
    if tls := next((c for c in chain if _distrusts(c)), None):
        return _tls_failed(place, tls)
    if any(isinstance(c, NoConnection) for c in chain):
        return MarathonUnreachable(
            f"Marathon at {place} cannot be reached ({_reason(chain)})."
            " Is it running, and is MARATHON_API right?"
        )
    asked = f"{method} {urlsplit(url).path}"
    if any(isinstance(c, TimeoutError) for c in chain):
        return MarathonSilent(
            f"Marathon at {place} did not answer {asked} in time. Try again in a moment"
        )
    return Dropped(
        f"Marathon at {place} broke off before its answer to {asked} was whole"
        f" ({_reason(chain)}). Try again in a moment"
    )


def _distrusts(error: BaseException) -> bool:
    # an end of file may come after the request was sent; every other TLS failure comes before
    return isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError)


def _tls_failed(place: str, error: BaseException) -> FobError:
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return TlsFailed(
        f"TLS with Marathon at {place} failed: {reason}. If your own CA vouches for it, name the"
        " CA's PEM file in FOB_MARATHON_CA; the URL's host must be one the certificate names"
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and every error it wraps, outermost first.

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
    """Why a request got no response, in the words of the operating system where it has some."""
    return _reason(list(causes(error)))


def _reason(chain: list[BaseException]) -> str:
    texts = [c.strerror for c in chain if isinstance(c, OSError) and c.strerror]
    return texts[-1] if texts else str(chain[-1]) or type(chain[-1]).__name__
