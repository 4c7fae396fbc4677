"""The settings: one table that makes the object, `fob serve --help` and docs/configuration.md.

The only module that reads the environment.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from fob.errors import BadRequest

# their own settings, where those and their caches are kept, proxies and certificates, compilers
_INSTALLER = re.compile(
    r"(PIP|UV|XDG)_.*|(?i:https?|all|no)_(?i:proxy)|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE"
    r"|PATH|HOME|LANG|LC_.*|CC|CXX|CFLAGS|LDFLAGS"
)


DOCKER_SOCKET = "unix:///var/run/docker.sock"
ACTIVATIONS = ("always", "on-demand")


def _setting(name: str, default: Any, help_: str, secret: bool = False) -> Any:
    return field(default=default, metadata={"name": name, "help": help_, "secret": secret})


@dataclass(frozen=True)
class Settings:
    """What the environment says; every field is one environment variable."""

    marathon_api: str = _setting(
        "MARATHON_API", "", "Marathon's URL; empty: fob's own engine on this machine"
    )
    host: str = _setting(
        "FOB_HOST", "", "address to listen on; empty: 127.0.0.1, or 0.0.0.0 with MARATHON_API"
    )
    port: int = _setting("FOB_PORT", 9999, "port to listen on; 0 picks a free one")
    home: str = _setting("FOB_HOME", "", "state folder; empty: $XDG_STATE_HOME/fob")
    token: str = _setting(
        "FOB_TOKEN", "", "bearer token wanted for all that changes state or runs code", secret=True
    )
    marathon_token: str = _setting(
        "FOB_MARATHON_TOKEN", "", "DC/OS token sent to Marathon", secret=True
    )
    marathon_user: str = _setting("FOB_MARATHON_USER", "", "Basic auth user for Marathon")
    marathon_password: str = _setting(
        "FOB_MARATHON_PASSWORD", "", "Basic auth password for Marathon", secret=True
    )
    marathon_ca: str = _setting(
        "FOB_MARATHON_CA", "", "file of CA certificates that vouch for Marathon"
    )
    image: str = _setting(
        "FOB_IMAGE", "", "container image for functions, also on this machine; empty: none"
    )
    role: str = _setting("FOB_ROLE", "", "acceptedResourceRoles for functions, comma-separated")
    launcher: str = _setting(
        "FOB_LAUNCHER", "zygote", "how the engine starts a function: zygote (forked) or process"
    )
    activation: str = _setting(
        "FOB_ACTIVATION",
        "always",
        "when functions run that do not say: always, or on-demand (while they are called)",
    )
    keep_alive: float = _setting(
        "FOB_KEEP_ALIVE", 60.0, "seconds after its last call that a function on demand goes to rest"
    )
    engine_host: str = _setting(
        "FOB_ENGINE_HOST",
        "127.0.0.1",
        "this machine's IPv4 address for the engine and its tasks: who reaches that reaches them",
    )
    engine_port: int = _setting(
        "FOB_ENGINE_PORT", 0, "port of the engine; 0: the one it had last time, or a free one"
    )
    docker_host: str = _setting(
        "FOB_DOCKER_HOST",
        "",
        "Docker engine for apps with an image; empty: DOCKER_HOST, or the usual socket",
    )
    docker_allow: str = _setting(
        "FOB_DOCKER_ALLOW",
        "",
        "what containers may ask for beyond themselves: privileged, volumes (of the host)",
    )
    cpus: float = _setting(
        "FOB_CPUS", 0.0, "CPUs the engine promises to tasks in all; 0: 32 for each core"
    )
    mem: float = _setting(
        "FOB_MEM", 0.0, "MiB of memory the engine promises to tasks in all; 0: the machine's"
    )
    build_seconds: float = _setting(
        "FOB_BUILD_SECONDS", 300.0, "seconds the engine gives the installation of dependencies"
    )
    build_mib: float = _setting(
        "FOB_BUILD_MIB", 1024.0, "MiB of disk that one set of dependencies may take"
    )
    fetch_seconds: float = _setting(
        "FOB_FETCH_SECONDS", 300.0, "seconds the engine gives what an app has fetched for a task"
    )
    fetch_mib: float = _setting(
        "FOB_FETCH_MIB", 1024.0, "MiB of disk that one task's fetched files may take, unpacked"
    )
    attributes: str = _setting(
        "FOB_ATTRIBUTES", "", "of the engine's machine, for constraints: rack:7;@zone:a"
    )
    url: str = _setting(
        "FOB_URL", "", "where the fob command finds the service; empty: 127.0.0.1 at FOB_PORT"
    )
    log: str = _setting("FOB_LOG", "INFO", "log level: DEBUG, INFO, WARNING or ERROR")

    @property
    def home_folder(self) -> Path:
        return Path(self.home)

    @property
    def embedded(self) -> bool:
        """True when functions run on fob's own engine."""
        return not self.marathon_api


def table() -> list[tuple[str, str, str]]:
    """(name, default, help) of every setting, in the order of the documentation."""
    return [(f.metadata["name"], str(f.default), f.metadata["help"]) for f in fields(Settings)]


def from_environment(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings; `overrides` (by field name, None meaning absent) win.

    Raises `BadRequest` naming the variable when a value is not of its kind.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for f in fields(Settings):
        name = f.metadata["name"]
        if overrides.get(f.name) is not None:
            values[f.name] = overrides[f.name]
        elif environ.get(name, "") != "":
            values[f.name] = _convert(name, environ[name], type(f.default))
    settings = Settings(**values)
    return _filled(settings, environ)


def for_engine(settings: Settings) -> dict[str, str]:
    """The environment for an engine with these settings: this one, without the secrets."""
    secrets = {f.metadata["name"] for f in fields(Settings) if f.metadata["secret"]}
    kept = {name: value for name, value in os.environ.items() if name not in secrets}
    told = {f.metadata["name"]: str(getattr(settings, f.name)) for f in fields(Settings)}
    return kept | {name: value for name, value in told.items() if name not in secrets}


def for_installer() -> dict[str, str]:
    """The environment for pip and uv: what the machine has for them, and nothing of fob's."""
    return {name: value for name, value in os.environ.items() if _INSTALLER.fullmatch(name)}


def _convert(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text.strip())
    except ValueError:
        raise BadRequest(f"{name}={text!r} is not a number; give one, or unset it") from None


def _names_a_machine(text: str) -> bool:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_unspecified or address.is_multicast)


def _filled(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Settle the defaults that depend on others, and check the ranges."""
    for name, port in (("FOB_PORT", settings.port), ("FOB_ENGINE_PORT", settings.engine_port)):
        if not 0 <= port <= 65535:
            raise BadRequest(f"{name}={port} is not a port; give 0 to 65535")
    if not _names_a_machine(settings.engine_host):
        raise BadRequest(
            f"FOB_ENGINE_HOST={settings.engine_host!r} is not the address of one machine; give the"
            " IPv4 address at which others reach this one, or 127.0.0.1"
        )
    if settings.log.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise BadRequest(f"FOB_LOG={settings.log!r}: give DEBUG, INFO, WARNING or ERROR")
    if settings.activation not in ACTIVATIONS:
        raise BadRequest(f"FOB_ACTIVATION={settings.activation!r}: give {' or '.join(ACTIVATIONS)}")
    if not settings.keep_alive >= 0:
        raise BadRequest(f"FOB_KEEP_ALIVE={settings.keep_alive:g} is not a number of seconds")
    state = environ.get("XDG_STATE_HOME") or os.path.join(
        environ.get("HOME") or os.path.expanduser("~"), ".local", "state"
    )
    return Settings(
        **{f.name: getattr(settings, f.name) for f in fields(Settings)}
        | {
            "marathon_api": settings.marathon_api.rstrip("/"),
            "host": settings.host or ("127.0.0.1" if settings.embedded else "0.0.0.0"),
            "home": os.path.abspath(settings.home or os.path.join(state, "fob")),
            "url": settings.url.rstrip("/") or f"http://127.0.0.1:{settings.port}",
            "docker_host": settings.docker_host or environ.get("DOCKER_HOST") or DOCKER_SOCKET,
            "log": settings.log.upper(),
        }
    )
