"""The client commands: each asks the service and prints what it answers."""

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
from fob.cli.failures import FunctionFailed, RefusedByService
from fob.cli.progress import Progress
from fob.cli.service import Service, ServiceResponse
from fob.errors import BadRequest, NotFound

OPTIONS = (
    *("entry", "name", "cpus", "mem", "instances", "timeout", "concurrency", "cors"),
    *("activation", "keep_alive"),
)
COLUMNS = ("id", "state", "instances_ready", "created", "name")
GLANCE_SECONDS = 1.0  # how long one question of a wait is held, so that the line moves
UUID_LENGTH = 36
ZIP = b"PK\3\4"  # how an archive begins
OURS = ("internal", "storage_failed")  # codes of a failed call that are not the function's doing


def gen(args: argparse.Namespace) -> None:
    """Register a file or folder; print the id, or with --json and --wait the endpoint too."""
    service = _service(args)
    query = [(key, getattr(args, key)) for key in OPTIONS if getattr(args, key) is not None]
    query += [(f"env.{key}", value) for key, value in map(_pair, args.env)]
    body = _source(args.file)
    kind = "application/zip" if body.startswith(ZIP) else "text/x-python"
    answer = service.expect("POST", "/api/gen", query, body=body, content_type=kind).json()
    if not args.json:
        print(answer["id"], flush=True)  # before the wait: it may fail, the id stays
    try:
        if args.wait is not None:
            answer |= _wait(service, answer["id"], args.wait)
    finally:
        if args.json:
            _print_json(answer)


def meta(args: argparse.Namespace) -> None:
    """Print where a function answers, as host:port."""
    service = _service(args)
    where = _wait(service, _id(service, args.id), args.wait)
    _print_json(where) if args.json else print(f"{where['host']}:{where['port']}")


def call(args: argparse.Namespace) -> None:
    """Call a function; print its output and its result, or with --json its whole answer."""
    service = _service(args)
    query, members = _arguments(args.arguments)
    body, content_type = _body(args.data, members)
    method = args.method or ("GET" if body is None else "POST")
    path = f"/api/call/{_id(service, args.id)}{_path(args.path)}"
    answer = service.send(
        method.upper(), path, query, body=body, content_type=content_type, patience=None
    )
    if answer.status >= 400:
        raise _call_failed(answer)
    _print_answer(answer, as_it_is=args.json)


def describe(args: argparse.Namespace) -> None:
    """Print what a function takes and answers (`call --help ID`), or without ID the usual help."""
    if args.id is None:
        args.parser.print_help()
        return
    service = _service(args)
    document = service.get(f"/api/functions/{_id(service, args.id)}/openapi.json")
    _print_json(document) if args.json else print(description.text(document))


def list_(args: argparse.Namespace) -> None:
    """List the functions, a line each."""
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
    """Print what a function printed; with -f, go on as it prints."""
    service = _service(args)
    query = [("follow", "true")] if args.follow else []
    query += [("tail", args.tail)] if args.tail is not None else []
    for piece in service.stream(f"/api/functions/{_id(service, args.id)}/logs", query):
        _write(piece)


def rm(args: argparse.Namespace) -> None:
    """Remove functions; print the ids removed, as they are."""
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
    """The id that `text` means: itself when whole, else a function's name or an id's beginning.

    Raises `NotFound`, and `BadRequest` with the candidates when there are several.
    """
    if len(text) == UUID_LENGTH:
        return quote(text, safe="")
    functions = _functions(service)
    found = [f["id"] for f in functions if f.get("name") == text]
    found = found or [f["id"] for f in functions if text and f["id"].startswith(text)]
    if not found:
        raise NotFound(f"no function is called {text!r} or has an id beginning so; see `fob list`")
    if len(found) > 1:
        raise BadRequest(f"{text!r} could be any of: {', '.join(found)}")
    return str(found[0])


def _wait(service: Service, id_: str, seconds: float) -> dict[str, Any]:
    """The endpoint of a function, once it is ready; `seconds` of 0 asks once.

    Raises `Refused` when it is still not ready, `FunctionFailed` when it never will be.
    """
    deadline = time.monotonic() + seconds
    with Progress(id_) as progress:
        while True:
            left = max(0.0, deadline - time.monotonic())
            glance = [("wait", f"{min(left, GLANCE_SECONDS):.3f}")] if left else []
            answer = service.send("GET", f"/api/meta/{id_}", glance)
            if answer.status < 400:
                where: dict[str, Any] = answer.json()
                return where
            if not left or not _worth_waiting(answer.error()):
                raise _not_ready(answer)
            progress.show(str(answer.error().get("message")).partition("\n")[0])


def _worth_waiting(error: Mapping[str, Any]) -> bool:
    """True for a function that is not ready yet and may become so by itself."""
    details = error.get("details") or {}
    dead = details.get("state") == "failed" and details.get("next_retry_seconds") is None
    return error.get("code") == "not_ready" and details.get("state") != "suspended" and not dead


def _not_ready(answer: ServiceResponse) -> RefusedByService:
    """The error of a function without an endpoint; when it failed, with all it left on stderr."""
    error = answer.error()
    details = error.get("details") or {}
    if error.get("code") != "not_ready" or details.get("state") != "failed":
        return RefusedByService(answer.status, error)
    said = (details.get("last_failure") or {}).get("message", "")
    return FunctionFailed(answer.status, _with(error, said.splitlines()[1:]))


def _call_failed(answer: ServiceResponse) -> RefusedByService:
    """The error of a call: `FunctionFailed` when it is the function's own doing."""
    error = answer.error() or {"message": answer.body.decode(errors="replace").strip()}
    code = str(error.get("code"))
    if code == "not_ready":
        return _not_ready(answer)
    if answer.status < 500 or code in OURS or code.startswith("marathon"):
        return RefusedByService(answer.status, error)
    details = error.get("details")
    trace = details.get("traceback", []) if isinstance(details, dict) else []
    return FunctionFailed(answer.status, _with(error, trace))


def _with(error: Mapping[str, Any], lines: list[str]) -> Mapping[str, Any]:
    """The error with more lines to its message."""
    return {**error, "message": "\n  ".join([str(error.get("message")), *lines])}


def _source(file: str) -> bytes:
    """What to register: a file's bytes, or those of an archive of a folder. Raises `BadRequest`."""
    if file != "-" and Path(file).is_dir():
        from fob.cli import folder

        return folder.packed(Path(file))
    return _read(file)


def _read(file: str) -> bytes:
    """The bytes of a file, `-` being standard input. Raises `BadRequest`."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror}") from error


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise BadRequest(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def _arguments(texts: Iterable[str]) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Split `k=v` and `k:=json` arguments into a query and the members of a JSON body."""
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
        raise BadRequest(f"{argument!r}: what follows := is not JSON: {error}") from None


def _body(data: str | None, members: dict[str, Any]) -> tuple[bytes | None, str]:
    """The body of a call and its content type; None when there is none."""
    if data is not None and members:
        raise BadRequest("give the body by --data or by K:=JSON arguments, not by both")
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


def _print_answer(answer: ServiceResponse, as_it_is: bool) -> None:
    """fob's `{"result", "output"}` as a person wants it; any other answer as it is."""
    content = answer.json() if answer.is_json and not as_it_is else None
    if not isinstance(content, dict) or "result" not in content:
        _write(answer.body + (b"" if answer.body.endswith(b"\n") else b"\n"))
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
