"""Snippet to Marathon app and back: the app definition contains the whole function.

The runner and the snippet travel compressed in one environment variable that the command decodes,
so Marathon's replicated store keeps the function.
"""

import base64
import binascii
import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fob import contract
from fob.errors import FobError, NotFound, TooLarge
from fob.functions.options import Options
from fob.runner.linker import packing
from fob.source.conventions import UNKNOWN, Convention
from fob.source.dependencies import INSTALL_SECONDS, NONE, Dependencies

# Linux takes 128 KiB in one environment string; the rest is room for what Marathon adds
ENCODED_BYTES = 96 * 1024
# In MiB. On a cluster memory is limited, and pip, which installs packages there, needs about 100.
MEM, INSTALL_MEM = 64, 256

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CONTAINER_PORT = 8080
# stands for the runner in JSON; no other text can contain it
_HERE = secrets.token_hex()


@dataclass(frozen=True)
class PlacementSettings:
    """The service's settings for all functions.

    `image` is the container image, if any, `roles` the accepted resource roles, and `remote` says
    that the Marathon is not fob's engine. `activation` and `keep_alive` (seconds) are defaults.
    """

    image: str = ""
    roles: tuple[str, ...] = ()
    activation: str = "always"
    keep_alive: float = 60.0
    remote: bool = False


def app_id(id_: str) -> str:
    """Return the id of the function's app; raises `NotFound` if `id_` is not a function id."""
    if not _ID.fullmatch(id_):
        raise NotFound(
            f"{id_[:50]!r} is not a function id; POST /api/gen returns one,"
            " GET /api/functions lists them",
            code="not_an_id",
        )
    return f"{contract.GROUP}/{id_}"


def function_id(app: Mapping[str, Any]) -> str:
    """Return the id of the app's function."""
    return str(app["id"]).rpartition("/")[2]


def is_function(app: Mapping[str, Any]) -> bool:
    """Whether fob created this app; fob leaves all other apps alone."""
    parent, _, last = str(app.get("id", "")).rpartition("/")
    labels = app.get("labels") or {}
    return (
        parent == contract.GROUP and bool(_ID.fullmatch(last)) and labels.get("FOB") == "function"
    )


def app(
    id_: str,
    snippet: bytes,
    options: Options,
    created: str,
    placement: PlacementSettings,
    dependencies: Dependencies = NONE,
    convention: Convention = UNKNOWN,
) -> dict[str, Any]:
    """Return the definition to POST, which every Marathon from 0.15 to 1.11 accepts.

    `created` is in UTC as `timeline.utc_now` writes it. Raises `TooLarge` if runner and snippet do
    not fit into an environment variable.
    """
    definition: dict[str, Any] = {
        "id": app_id(id_),
        "cmd": contract.COMMAND,
        "cpus": options.cpus,
        "mem": _mem(options, placement, dependencies),
        "disk": 0,
        "instances": options.instances,
        "env": _env(snippet, options) | dependencies.env(),
        "labels": _labels(snippet, options, created)
        | _activation(options, placement)
        | {"FOB_CONVENTION": f"{convention.name}: {convention.why}"},
        "portDefinitions": [{"port": 0, "protocol": "tcp", "name": "http"}],
        "requirePorts": False,
        "healthChecks": [_HEALTH_CHECK | _install_time(dependencies)],
        "upgradeStrategy": _UPGRADE,
        "backoffSeconds": 1,
        "backoffFactor": 1.15,
        "maxLaunchDelaySeconds": 60,
    }
    return definition | _placed(placement)


# Old instances serve until their replacements are healthy.
_UPGRADE = {"minimumHealthCapacity": 1, "maximumOverCapacity": 1}

_HEALTH_CHECK: dict[str, Any] = {
    "protocol": "TCP",
    "portIndex": 0,
    "gracePeriodSeconds": 30,
    "intervalSeconds": 5,
    "timeoutSeconds": 5,
    "maxConsecutiveFailures": 3,
}


def _install_time(dependencies: Dependencies) -> dict[str, Any]:
    """Extend the grace period for machines on which the runner installs dependencies first."""
    if not dependencies:
        return {}
    seconds = _HEALTH_CHECK["gracePeriodSeconds"] + INSTALL_SECONDS
    return {"gracePeriodSeconds": seconds}


def _placed(placement: PlacementSettings) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    if placement.roles:
        keys["acceptedResourceRoles"] = list(placement.roles)
    if placement.image:
        port = {"containerPort": CONTAINER_PORT, "hostPort": 0}
        docker = {"image": placement.image, "network": "BRIDGE", "portMappings": [port]}
        keys["container"] = {"type": "DOCKER", "docker": docker}
        keys["cmd"] = f"PORT0={CONTAINER_PORT} {contract.COMMAND}"
    return keys


def _labels(snippet: bytes, options: Options, created: str) -> dict[str, str]:
    labels = {
        "FOB": "function",
        "FOB_SHA256": sha256(snippet),
        "FOB_CREATED": created,
    }
    return labels | ({"FOB_NAME": options.name} if options.name else {})


def _mem(options: Options, placement: PlacementSettings, dependencies: Dependencies) -> float:
    if options.mem is not None:
        return options.mem
    installs_itself = placement.remote or placement.image
    return INSTALL_MEM if installs_itself and dependencies.requirements else MEM


def _activation(options: Options, placement: PlacementSettings) -> dict[str, str]:
    seconds = placement.keep_alive if options.keep_alive is None else options.keep_alive
    return {
        contract.ACTIVATION: options.activation or placement.activation,
        contract.KEEP_ALIVE: f"{seconds:g}",
    }


def _env(snippet: bytes, options: Options) -> dict[str, str]:
    ours = {
        contract.FUNCTION: _packed(snippet),
        contract.TIMEOUT: f"{options.timeout:g}",
        contract.CONCURRENCY: str(options.concurrency),
    }
    if options.entry:
        ours[contract.ENTRY] = options.entry
    if options.cors:
        ours[contract.CORS] = options.cors
    return {**options.env, **ours}


def _packed(snippet: bytes) -> str:
    runner, checksum = packing.packed_runner()
    # RFC 1950: the runner's deflate stream continues with the snippet's, and ends with a checksum
    # of both. To set up a compressor's memory takes longer than to compress a short file: so the
    # window is as small as the file allows, and the rest in proportion.
    window = min(max(len(snippet).bit_length(), 9), zlib.MAX_WBITS)
    compressor = zlib.compressobj(9, zlib.DEFLATED, -window, window - 8)
    rest = compressor.compress(snippet) + compressor.flush()
    rest += zlib.adler32(snippet, checksum).to_bytes(4)
    value = runner + base64.b64encode(rest).decode()
    if len(value) > ENCODED_BYTES:
        raise TooLarge(
            f"The file is too large to travel inside its app: packed with the runner it has"
            f" {len(value)} bytes, and {ENCODED_BYTES} is the most. Make it smaller",
            details={"bytes": len(value), "limit": ENCODED_BYTES},
        )
    return value


def to_json(app: Mapping[str, Any]) -> bytes:
    """An app that `app` made, as it is sent. The runner, most of it, is put in as it is: nothing in
    base64 has to be escaped, and to look for that takes longer than all else."""
    runner, _ = packing.packed_runner()
    snippet = app["env"][contract.FUNCTION].removeprefix(runner)
    text = json.dumps({**app, "env": {**app["env"], contract.FUNCTION: _HERE + snippet}})
    return text.replace(_HERE, runner, 1).encode()


def snippet_of(app: Mapping[str, Any]) -> bytes:
    """The file, byte for byte, out of its app; raises `FobError` when it is not in there whole."""
    unpacker = zlib.decompressobj()
    try:
        packed = base64.b64decode(app["env"][contract.FUNCTION], validate=True)
        unpacked = unpacker.decompress(packed, contract.MAX_UNPACKED_BYTES)
    except (KeyError, TypeError, binascii.Error, zlib.error) as error:
        raise _damaged(app) from error
    _, found, snippet = unpacked.partition(b"\0")
    if not found or not unpacker.eof or sha256(snippet) != app["labels"].get("FOB_SHA256"):
        raise _damaged(app)
    return snippet


def _damaged(app: Mapping[str, Any]) -> FobError:
    return FobError(
        f"The app {app['id']} does not contain its function unchanged. Register the file again",
        code="damaged",
    )


def sha256(snippet: bytes) -> str:
    return hashlib.sha256(snippet).hexdigest()


def settings_of(app: Mapping[str, Any]) -> dict[str, Any]:
    """Return the function's settings, from its app; of the user's environment only the names,
    because the values may be secrets."""
    env = app.get("env") or {}
    labels = app.get("labels") or {}
    return {
        "name": labels.get("FOB_NAME", ""),
        "entry": env.get(contract.ENTRY),
        "cpus": app.get("cpus"),
        "mem": app.get("mem"),
        "instances": app.get("instances"),
        "timeout": timeout_of(app),
        "concurrency": int(env.get(contract.CONCURRENCY, Options.concurrency)),
        "cors": env.get(contract.CORS, ""),
        "activation": labels.get(contract.ACTIVATION, "always"),
        "keep_alive": float(labels.get(contract.KEEP_ALIVE, PlacementSettings.keep_alive)),
        "env": sorted(name for name in env if not name.startswith("FOB_")),
    }


def convention_of(app: Mapping[str, Any]) -> dict[str, str]:
    """Return the name of the convention that the function follows, and why."""
    label = (app.get("labels") or {}).get("FOB_CONVENTION", f"{UNKNOWN.name}: {UNKNOWN.why}")
    name, _, why = label.partition(": ")
    return {"name": name, "why": why}


def timeout_of(app: Mapping[str, Any]) -> float:
    """Return the timeout of a call to this function, in seconds."""
    return float((app.get("env") or {}).get(contract.TIMEOUT, Options.timeout))


def change(app: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body to PUT to give the app `values`, as `options.from_change` returns them.

    Marathon merges only the top level, so a change of one variable or label sends all of them.
    """
    body = {key: values[key] for key in ("cpus", "mem", "instances") if key in values}
    env = dict(app.get("env") or {})
    for key, name in (("timeout", contract.TIMEOUT), ("concurrency", contract.CONCURRENCY)):
        if key in values:
            env[name] = f"{values[key]:g}"
    if "cors" in values:
        env[contract.CORS] = values["cors"]
    for name, value in values.get("env", {}).items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    if env != (app.get("env") or {}):
        body["env"] = env
    if labels := _changed_labels(values):
        body["labels"] = {**app["labels"], **labels}
    if body.keys() - {"instances"}:  # apps of older versions of fob lack it
        body["upgradeStrategy"] = _UPGRADE
    return body


def _changed_labels(values: Mapping[str, Any]) -> dict[str, str]:
    labels = {"name": "FOB_NAME", "activation": contract.ACTIVATION}
    changed = {label: values[key] for key, label in labels.items() if key in values}
    if "keep_alive" in values:
        changed[contract.KEEP_ALIVE] = f"{values['keep_alive']:g}"
    return changed
