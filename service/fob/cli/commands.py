"""The client commands: each sends requests to the service and prints the results."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fob import config
from fob.cli import description
from fob.cli.errors import FunctionFailed, ServiceError
from fob.cli.progress import Progress
from fob.cli.service import Service, ServiceResponse
from fob.errors import BadRequest, NotFound

OPTIONS = (
    *("entry", "name", "cpus", "mem", "instances", "timeout", "concurrency", "cors"),
    *("activation", "keep_alive"),
)
COLUMNS = ("id", "state", "instances_ready", "created", "name")
POLL_SECONDS = 1.0  # of one request while waiting, so that the progress line keeps moving
UUID_LENGTH = 36
ZIP_MAGIC = b"PK\3\4"
SERVICE_CODES = ("internal", "storage_failed")  # 5xx errors that the function did not cause


def gen(args: argparse.Namespace) -> None:
    """Register a file or folder; print the id, with --json and --wait the endpoint too."""
    service = _service(args)
    query = [(key, getattr(args, key)) for key in OPTIONS if getattr(args, key) is not None]
    query += [(f"env.{key}", value) for key, value in map(_pair, args.env)]
    body = _source(args.file)
    kind = "application/zip" if body.startswith(ZIP_MAGIC) else "text/x-python"
    made = service.expect("POST", "/api/gen", query, body=body, content_type=kind).json()
    if not args.json:
        print(
            made["id"], flush=True
        )  # before the wait, because the function exists even if that fails
    try:
        if args.wait is not None:
            made |= _wait(service, made["id"], args.wait)
    finally:
        if args.json:
            _print_json(made)


def meta(args: argparse.Namespace) -> None:
    """Print the endpoint of a function as host:port."""
    service = _service(args)
    endpoint = _wait(service, _id(service, args.id), args.wait)
    _print_json(endpoint) if args.json else print(f"{endpoint['host']}:{endpoint['port']}")


def call(args: argparse.Namespace) -> None:
    """Call a function; print its output and its result, with --json the whole response."""
    service = _service(args)
    query, members = _arguments(args.arguments)
    body, content_type = _body(args.data, members)
    method = args.method or ("GET" if body is None else "POST")
    path = f"/api/call/{_id(service, args.id)}{_path(args.path)}"
    response = service.send(
        method.upper(), path, query, body=body, content_type=content_type, timeout=None
    )
    if response.status >= 400:
        raise _call_error(response)
    _print_result(response, whole=args.json)


def describe(args: argparse.Namespace) -> None:
    """Print the parameters and result of a function (`call --help ID`); without ID the help."""
    if args.id is None:
        args.parser.print_help()
        return
    service = _service(args)
    document = service.get(f"/api/functions/{_id(service, args.id)}/openapi.json")
    _print_json(document) if args.json else print(description.text(document))


def list_(args: argparse.Namespace) -> None:
    """Print all functions as a table."""
    functions = _functions(_service(args))
    if args.json:
        _print_json(functions)
        return
    rows = [["ID", "STATE", "READY", "CREATED", "NAME"]]
    rows += [[str(f[column]) for column in COLUMNS] for f in functions]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def logs(args: argparse.Namespace) -> None:
    """Print the output of a function; with -f, keep printing new output."""
    service = _service(args)
    query = [("follow", "true")] if args.follow else []
    query += [("tail", args.tail)] if args.tail is not None else []
    for chunk in service.stream(f"/api/functions/{_id(service, args.id)}/logs", query):
        _write(chunk)


def rm(args: argparse.Namespace) -> None:
    """Remove functions; print each id once it is removed."""
    service = _service(args)
    removed = []
    for id_ in [_id(service, text) for text in args.ids]:
        service.expect("DELETE", f"/api/functions/{id_}")
        removed.append(id_)
        if not args.json:
            print(id_, flush=True)
    if args.json:
        _print_json(removed)


def _service(args: argparse.Namespace) -> Service:
    settings = config.from_environment(url=args.url, token=args.token)
    return Service(settings.url, settings.token)


def _functions(service: Service) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = service.get("/api/functions")["functions"]
    return listed


def _id(service: Service, text: str) -> str:
    """Return the id for `text`: a whole id, a function's name, or the beginning of an id.

    Raises `NotFound`, and `BadRequest` with the candidates if `text` is ambiguous.
    """
    if len(text) == UUID_LENGTH:
        return quote(text, safe="")
    functions = _functions(service)
    found = [f["id"] for f in functions if f.get("name") == text]
    found = found or [f["id"] for f in functions if text and f["id"].startswith(text)]
    if not found:
        raise NotFound(
            f"no function has the name {text!r} or an id that begins with it; see `fob list`"
        )
    if len(found) > 1:
        raise BadRequest(f"{text!r} is ambiguous; it may be any of {', '.join(found)}")
    return str(found[0])


def _wait(service: Service, id_: str, seconds: float) -> dict[str, Any]:
    """Return the endpoint of a function once it is ready; with 0 `seconds`, after one request.

    Raises `ServiceError` if it is still not ready, `FunctionFailed` if it never will be.
    """
    deadline = time.monotonic() + seconds
    with Progress(id_) as progress:
        while True:
            left = max(0.0, deadline - time.monotonic())
            query = [("wait", f"{min(left, POLL_SECONDS):.3f}")] if left else []
            response = service.send("GET", f"/api/meta/{id_}", query)
            if response.status < 400:
                endpoint: dict[str, Any] = response.json()
                return endpoint
            if not left or not _may_become_ready(response.error()):
                raise _not_ready(response)
            progress.show(str(response.error().get("message")).partition("\n")[0])


def _may_become_ready(error: Mapping[str, Any]) -> bool:
    """Return whether the function may become ready without a change by the user."""
    details = error.get("details") or {}
    dead = details.get("state") == "failed" and details.get("next_retry_seconds") is None
    return error.get("code") == "not_ready" and details.get("state") != "suspended" and not dead


def _not_ready(response: ServiceResponse) -> ServiceError:
    """Return the error of a function without an endpoint; if it failed, with its last output."""
    error = response.error()
    details = error.get("details") or {}
    if error.get("code") != "not_ready" or details.get("state") != "failed":
        return ServiceError(response.status, error)
    failure = (details.get("last_failure") or {}).get("message", "")
    return FunctionFailed(response.status, _with_lines(error, failure.splitlines()[1:]))


def _call_error(response: ServiceResponse) -> ServiceError:
    """Return the error of a call: `FunctionFailed` if the function caused it."""
    error = response.error() or {"message": response.body.decode(errors="replace").strip()}
    code = str(error.get("code"))
    if code == "not_ready":
        return _not_ready(response)
    if response.status < 500 or code in SERVICE_CODES or code.startswith("marathon"):
        return ServiceError(response.status, error)
    details = error.get("details")
    trace = details.get("traceback", []) if isinstance(details, dict) else []
    return FunctionFailed(response.status, _with_lines(error, trace))


def _with_lines(error: Mapping[str, Any], lines: list[str]) -> Mapping[str, Any]:
    """Return the error with these lines added to its message."""
    return {**error, "message": "\n  ".join([str(error.get("message")), *lines])}


def _source(file: str) -> bytes:
    """Return the bytes of a file, or of an archive of a folder. Raises `BadRequest`."""
    if file != "-" and Path(file).is_dir():
        from fob.cli import folder

        return folder.packed(Path(file))
    return _read(file)


def _read(file: str) -> bytes:
    """Return the bytes of a file, of standard input for `-`. Raises `BadRequest`."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror}") from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise BadRequest(f"{text!r} does not have the form KEY=VALUE")
    return key, value


def _arguments(texts: Iterable[str]) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Split the arguments: `k=v` into a query, `k:=json` into the members of a JSON body."""
    query: list[tuple[str, str]] = []
    members: dict[str, Any] = {}
    for text in texts:
        key, value = _pair(text)
        if key.endswith(":"):
            members[key[:-1]] = _json(text, value)
        else:
            query.append((key, value))
    return query, members


def _json(argument: str, value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError as error:
        raise BadRequest(f"{argument!r}: the value after := is not JSON: {error}") from None


def _body(data: str | None, members: dict[str, Any]) -> tuple[bytes | None, str]:
    """Return the body of a call, None for no body, and its content type."""
    if data is not None and members:
        raise BadRequest("give the body as --data or as K:=JSON arguments, not as both")
    if members:
        return json.dumps(members).encode(), "application/json"
    if data is None:
        return None, ""
    body = _read(data[1:]) if data.startswith("@") else data.encode()
    try:
        json.loads(body)
    except ValueError:
        return body, "application/octet-stream"
    return body, "application/json"


def _path(path: str) -> str:
    return f"/{quote(path.lstrip('/'))}" if path else ""


def _print_result(response: ServiceResponse, whole: bool) -> None:
    """Print output and result of fob's `{"result", "output"}`; any other body unchanged."""
    content = response.json() if response.is_json and not whole else None
    if not isinstance(content, dict) or "result" not in content:
        _write(response.body + (b"" if response.body.endswith(b"\n") else b"\n"))
        return
    sys.stdout.write(content.get("output", ""))
    result = content["result"]
    if result is not None:
        print(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False))


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
