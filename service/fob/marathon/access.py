"""How to reach a Marathon: its URL, credentials and CA, checked when the service starts."""

import base64
import functools
import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from fob import __version__
from fob.errors import BadRequest

DEFAULT_PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int]
USER_AGENT = f"fob/{__version__}"


@dataclass(frozen=True)
class Access:
    """One Marathon. `url` has no credentials and no trailing slash; timeouts are in seconds.

    `authorization` is the value of that header, `ca` the path of a PEM file; both may be empty.
    """

    url: str
    authorization: str = field(repr=False)
    ca: str
    connect_timeout: float
    read_timeout: float

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return urlsplit(self.url).netloc

    @property
    def loopback(self) -> bool:
        """True when Marathon is on this machine, as fob's engine is; proxies are bypassed then."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def direct(self) -> bool:
        """True when neither a proxy nor TLS is needed to reach Marathon."""
        return self.loopback and self.scheme == "http"


def access(
    url: str,
    *,
    token: str = "",
    user: str = "",
    password: str = "",
    ca: str = "",
    connect_timeout: float,
    read_timeout: float,
) -> Access:
    """Return the `Access` that these settings describe.

    A DC/OS token takes precedence over Basic auth, and `user` and `password` over the URL's.
    Raises `BadRequest`, which names the wrong setting and never shows a secret.
    """
    parts = _split(url)
    user = user or unquote(parts.username or "")
    password = password or unquote(parts.password or "")
    if ca:
        _check_ca(ca)
    return Access(
        url=without_credentials(parts).rstrip("/"),
        authorization=_authorization(token.strip(), user, password),
        ca=ca,
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
    )


@functools.lru_cache(maxsize=256)
def origin(url: str) -> Origin:
    """Return (scheme, host, port) of `url`. Raises ValueError if it is not a URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)


def may_see_credentials(home: str, url: str) -> bool:
    """Return whether credentials for `home` may be sent to `url`.

    They may go to the same origin, or to https on the default port after http on its default port.
    """
    (scheme, host, port), target = origin(home), origin(url)
    upgraded = (scheme, port) == ("http", 80) and target == ("https", host, 443)
    return target == (scheme, host, port) or upgraded


def without_credentials(parts: SplitResult) -> str:
    """Return the URL without `user:password@`, query and fragment."""
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))


def _split(url: str) -> SplitResult:
    advice = "set it to a URL such as http://marathon.mesos:8080"
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in DEFAULT_PORTS and parts.hostname and parts.port != 0
    except ValueError:
        raise BadRequest(f"MARATHON_API is not a URL; {advice}", code="bad_setting") from None
    if not usable or parts.query or parts.fragment:
        raise BadRequest(f"MARATHON_API is not a URL of a Marathon; {advice}", code="bad_setting")
    return parts


def _authorization(token: str, user: str, password: str) -> str:
    if token:
        if not (token.isascii() and token.isprintable()):
            raise BadRequest(
                "FOB_MARATHON_TOKEN has characters that are invalid in a token; copy it again",
                code="bad_setting",
            )
        return f"token={token}"
    if user:
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return ""


def _check_ca(path: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError as error:
        reason = "it has no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise BadRequest(
            f"FOB_MARATHON_CA={path} cannot be used: {reason};"
            " set it to a readable file of PEM certificates, or unset it",
            code="bad_setting",
        ) from error
