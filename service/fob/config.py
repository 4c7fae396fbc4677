"""The settings: one table that makes the object, its checks, `fob serve --help` and the docs page.

The only module that reads the environment.
"""

import dataclasses
import ipaddress
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fob.errors import BadRequest

# What pip and uv need: their own settings and caches, proxies, certificates, compilers
_INSTALLER = re.compile(
    r"(PIP|UV|XDG)_.*|(?i:https?|all|no)_(?i:proxy)|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE"
    r"|PATH|HOME|LANG|LC_.*|CC|CXX|CFLAGS|LDFLAGS"
)

DOCKER_SOCKET = "unix:///var/run/docker.sock"
LAUNCHERS = ("zygote", "process")
ACTIVATIONS = ("always", "on-demand")
DOCKER_PERMISSIONS = ("privileged", "volumes")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True)
class SettingKind:
    """The values a setting may have: `allowed` says which, `read` makes one of a text.

    `read` raises `ValueError` for every other text.
    """

    allowed: str
    read: Callable[[str], Any]


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError


def _number(allowed: str, in_range: Callable[[float], bool]) -> SettingKind:
    def read(text: str) -> float:
        number = float(text)
        _require(math.isfinite(number) and in_range(number))
        return number

    return SettingKind(allowed, read)


def _port(text: str) -> int:
    port = int(text)
    _require(0 <= port <= 65535)
    return port


def _choice(choices: tuple[str, ...], normalise: Callable[[str], str] = str) -> SettingKind:
    def read(text: str) -> str:
        choice = normalise(text)
        _require(choice in choices)
        return choice

    return SettingKind(f"{', '.join(choices[:-1])} or {choices[-1]}", read)


def _address(text: str) -> str:
    address = ipaddress.IPv4Address(text)
    _require(not (address.is_unspecified or address.is_multicast))
    return text


def _permissions(text: str) -> str:
    _require(set(text.replace(",", " ").split()) <= {*DOCKER_PERMISSIONS})
    return text


def _attributes(text: str) -> str:
    pairs = [part.partition(":") for part in text.split(";") if part.strip()]
    _require(all(name.strip() and value.strip() for name, _, value in pairs))
    return text


def _url(text: str) -> str:
    return text.rstrip("/")


_TEXT = SettingKind("text", str)
_URL = SettingKind("a URL", _url)
_PORT = SettingKind("a whole number from 0 to 65535", _port)
_FROM_0 = _number("a number, at least 0", lambda number: number >= 0)
_ABOVE_0 = _number("a number above 0", lambda number: number > 0)


def _setting(
    name: str, default: Any, help_: str, kind: SettingKind = _TEXT, secret: bool = False
) -> Any:
    metadata = {"name": name, "help": help_, "kind": kind, "secret": secret}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """The service's settings; each field is one environment variable."""

    marathon_api: str = _setting(
        "MARATHON_API", "", "Marathon's URL; empty: fob's own engine on this machine", _URL
    )
    host: str = _setting(
        "FOB_HOST", "", "address to listen on; empty: 127.0.0.1, or 0.0.0.0 with MARATHON_API"
    )
    port: int = _setting("FOB_PORT", 9999, "port to listen on; 0 picks a free one", _PORT)
    home: str = _setting("FOB_HOME", "", "state folder; empty: $XDG_STATE_HOME/fob")
    token: str = _setting(
        "FOB_TOKEN",
        "",
        "bearer token required for requests that change state or run code",
        secret=True,
    )
    marathon_token: str = _setting(
        "FOB_MARATHON_TOKEN", "", "DC/OS token sent to Marathon", secret=True
    )
    marathon_user: str = _setting("FOB_MARATHON_USER", "", "Basic auth user for Marathon")
    marathon_password: str = _setting(
        "FOB_MARATHON_PASSWORD", "", "Basic auth password for Marathon", secret=True
    )
    marathon_ca: str = _setting(
        "FOB_MARATHON_CA", "", "PEM file of the CA certificates to verify Marathon with"
    )
    image: str = _setting(
        "FOB_IMAGE", "", "container image for functions, on this machine too; empty: none"
    )
    role: str = _setting("FOB_ROLE", "", "acceptedResourceRoles for functions, comma-separated")
    launcher: str = _setting(
        "FOB_LAUNCHER",
        "zygote",
        "how the engine starts a function: forked from a zygote, or as a new process",
        _choice(LAUNCHERS),
    )
    activation: str = _setting(
        "FOB_ACTIVATION",
        "always",
        "when functions run by default: always, or on-demand (idle until called)",
        _choice(ACTIVATIONS),
    )
    keep_alive: float = _setting(
        "FOB_KEEP_ALIVE",
        60.0,
        "seconds from its last call until an on-demand function goes idle",
        _FROM_0,
    )
    engine_host: str = _setting(
        "FOB_ENGINE_HOST",
        "127.0.0.1",
        "address that the engine and its tasks listen on; any client that can connect to it can"
        " call the tasks",
        SettingKind("the IPv4 address of one machine, at which others reach this one", _address),
    )
    engine_port: int = _setting(
        "FOB_ENGINE_PORT", 0, "port of the engine; 0: its previous port, or a free one", _PORT
    )
    docker_host: str = _setting(
        "FOB_DOCKER_HOST",
        "",
        "URL of the Docker engine, for apps with an image; empty: DOCKER_HOST, or the usual socket",
    )
    docker_allow: str = _setting(
        "FOB_DOCKER_ALLOW",
        "",
        "what containers may use of the host: privileged mode, volumes; empty: nothing",
        SettingKind("privileged, volumes or both, comma-separated", _permissions),
    )
    cpus: float = _setting(
        "FOB_CPUS", 0.0, "CPUs that the engine offers to tasks; 0: 32 for each core", _FROM_0
    )
    mem: float = _setting(
        "FOB_MEM", 0.0, "MiB of memory that the engine offers to tasks; 0: the machine's", _FROM_0
    )
    build_seconds: float = _setting(
        "FOB_BUILD_SECONDS", 300.0, "seconds that installing dependencies may take", _ABOVE_0
    )
    build_mib: float = _setting(
        "FOB_BUILD_MIB", 1024.0, "MiB of disk that one set of dependencies may take", _ABOVE_0
    )
    fetch_seconds: float = _setting(
        "FOB_FETCH_SECONDS", 300.0, "seconds that fetching a task's files may take", _ABOVE_0
    )
    fetch_mib: float = _setting(
        "FOB_FETCH_MIB", 1024.0, "MiB of disk that one task's fetched files may take", _ABOVE_0
    )
    attributes: str = _setting(
        "FOB_ATTRIBUTES",
        "",
        "attributes of the engine's machine, for constraints",
        SettingKind(
            "name:value pairs separated by semicolons, such as rack:7;disk:ssd", _attributes
        ),
    )
    url: str = _setting(
        "FOB_URL", "", "where fob commands find the service; empty: 127.0.0.1 at FOB_PORT", _URL
    )
    log: str = _setting("FOB_LOG", "INFO", "log level", _choice(LOG_LEVELS, str.upper))

    @property
    def home_folder(self) -> Path:
        return Path(self.home)

    @property
    def embedded(self) -> bool:
        """True when functions run on fob's own engine."""
        return not self.marathon_api


def table() -> list[tuple[str, str, str, str]]:
    """(name, default, allowed values, meaning) of every setting, in the order of the docs."""
    return [
        (f.metadata["name"], str(f.default), f.metadata["kind"].allowed, f.metadata["help"])
        for f in fields(Settings)
    ]


def from_environment(environ: Mapping[str, str] | None = None, **flags: Any) -> Settings:
    """Read the settings; `flags` (by field name, None meaning absent) override the environment.

    Raises `BadRequest` naming the variable or flag, its value and what is allowed.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for f in fields(Settings):
        name, kind = f.metadata["name"], f.metadata["kind"]
        if flags.get(f.name) is not None:
            values[f.name] = _read("--" + f.name.replace("_", "-"), str(flags[f.name]), kind)
        elif environ.get(name, "") != "":
            values[f.name] = _read(name, environ[name], kind)
    return _with_defaults(Settings(**values), environ)


def for_engine(settings: Settings) -> dict[str, str]:
    """The environment for an engine with these settings: this process's, without the secrets."""
    secrets = {f.metadata["name"] for f in fields(Settings) if f.metadata["secret"]}
    ours = {f.metadata["name"]: str(getattr(settings, f.name)) for f in fields(Settings)}
    return {name: text for name, text in {**os.environ, **ours}.items() if name not in secrets}


def for_installer() -> dict[str, str]:
    """The environment for pip and uv: the machine's settings for them, and none of fob's."""
    return {name: value for name, value in os.environ.items() if _INSTALLER.fullmatch(name)}


def _read(name: str, text: str, kind: SettingKind) -> Any:
    try:
        return kind.read(text.strip())
    except ValueError:
        raise BadRequest(f"{name}={text!r} is not allowed; give {kind.allowed}") from None


def _with_defaults(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Fill in the defaults that depend on other settings or on the machine."""
    state = environ.get("XDG_STATE_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".local", "state"
    )
    return dataclasses.replace(
        settings,
        host=settings.host or ("127.0.0.1" if settings.embedded else "0.0.0.0"),
        home=os.path.abspath(settings.home or os.path.join(state, "fob")),
        url=settings.url or f"http://127.0.0.1:{settings.port}",
        docker_host=settings.docker_host or environ.get("DOCKER_HOST") or DOCKER_SOCKET,
    )
