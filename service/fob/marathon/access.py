"""How to reach a Marathon: its URL, the credentials, who vouches for it; checked at the start."""

import base64
import functools
import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from fob import __version__
from fob.errors import BadRequest

PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int]
AGENT = f"fob/{__version__}"  # our name to servers


@dataclass(frozen=True)
class Access:
    """One Marathon. `url` carries no credentials and no trailing slash; timeouts are in seconds."""

    url: str
    authorization: str = field(repr=False)
    ca: str
    connect_timeout: float
    read_timeout: float

    @property
    def scheme(self) -> str:
        return urlsplit(self.url).scheme

    @property
    def place(self) -> str:
        """`host:port`, for messages."""
        return urlsplit(self.url).netloc

    @property
    def loopback(self) -> bool:
        """True when Marathon is on this machine (fob's engine): no proxy stands in between."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def direct(self) -> bool:
        """True when nothing has to be between us and Marathon: no proxy, no TLS."""
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
    """The `Access` these settings describe.

    A DC/OS token wins over Basic auth, and user and password over those in the URL. Raises
    `BadRequest` naming the setting that is wrong, and never its value where that is a secret.
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
    return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme, 0)


def may_see_credentials(home: str, url: str) -> bool:
    """True when what is meant for `home` may go to `url`: the same origin, or its https port."""
    (scheme, host, port), target = origin(home), origin(url)
    upgraded = (scheme, port) == ("http", 80) and target == ("https", host, 443)
    return target == (scheme, host, port) or upgraded


def without_credentials(parts: SplitResult) -> str:
    """The URL without `user:password@`, query and fragment."""
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, netloc, parts.path, "", ""))


def _split(url: str) -> SplitResult:
    wanted = "give a URL such as http://marathon.mesos:8080"
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in PORTS and parts.hostname and parts.port != 0
    except ValueError:
        raise BadRequest(f"MARATHON_API is not a URL; {wanted}", code="bad_setting") from None
    if not usable or parts.query or parts.fragment:
        raise BadRequest(f"MARATHON_API is not the URL of a Marathon; {wanted}", code="bad_setting")
    return parts


def _authorization(token: str, user: str, password: str) -> str:
    if token:
        if not (token.isascii() and token.isprintable()):
            raise BadRequest(
                "FOB_MARATHON_TOKEN holds characters no token has; copy it again",
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
        reason = (
            "it holds no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
        )
        raise BadRequest(
            f"FOB_MARATHON_CA={path} cannot be used: {reason};"
            " name a readable file of PEM certificates, or unset it",
            code="bad_setting",
        ) from error
