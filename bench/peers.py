"""Whom fob is measured against: one table of what is installed and how it is run.

Every server gets one process (or what its own defaults make of one), one core, and the function of
apps/hello.py. To add one, add a row.
"""

from dataclasses import dataclass
from pathlib import Path

from bench.install import Environment

APPS = Path(__file__).with_name("apps")
DIRECT, ROUTED = "fob, direct", "fob, routed"  # the two ways to call a function of fob's

NOTHING = Environment("python")
FUNCTIONS_FRAMEWORK = Environment("functions-framework", "pip", ("functions-framework[async]",))
UVICORN = Environment("uvicorn", "pip", ("uvicorn[standard]", "uvloop"))
GRANIAN = Environment("granian", "pip", ("granian[uvloop]",))
FUNC_PYTHON = Environment("func-python", "pip", ("func-python",))
OPENFAAS = Environment("openfaas", "pip", ("flask", "waitress"))
TORNADO = Environment("tornado", "pip", ("tornado",))
WORKERD = Environment("workerd", "npm", ("workerd",))
NGINX = Environment("nginx", "apt", ("nginx",))
HAPROXY = Environment("haproxy", "apt", ("haproxy",))
WRK = Environment("wrk", "apt", ("wrk",))


@dataclass(frozen=True)
class Peer:
    """A server: `command` with {port}, {apps}, {folder} (its own, empty), {upstream} and {config}.

    `files` of apps/ are filled in likewise and put into {folder}; {config} is the first of them. A
    `proxy` stands in front of the function that fob serves. `python` says that it runs Python, and
    so competes with fob's runner.
    """

    name: str
    environment: Environment
    command: tuple[str, ...]
    variables: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    proxy: bool = False
    python: bool = True
    said: str = ""


FLOOR = Peer(
    "bare epoll loop",
    NOTHING,
    ("python3", "-I", "{apps}/epoll_loop.py", "{port}"),
    python=False,
    said="finds the end of a request, sends a constant: the floor",
)
TWIN = Peer(
    "bare epoll loop, again",
    NOTHING,
    FLOOR.command,
    python=False,
    said="the same program again: how much two equal servers differ in this run",
)

_FUNCTIONS_FRAMEWORK = (
    "functions-framework",
    "--source={apps}/functions_framework_main.py",
    "--host=127.0.0.1",
    "--port={port}",
)

PEERS = (
    Peer(
        "functions-framework",
        FUNCTIONS_FRAMEWORK,
        (*_FUNCTIONS_FRAMEWORK, "--target=respond"),
        said="its defaults: gunicorn, one worker, threads",
    ),
    Peer(
        "functions-framework --asgi",
        FUNCTIONS_FRAMEWORK,
        (*_FUNCTIONS_FRAMEWORK, "--target=respond_async", "--asgi"),
        said="gunicorn, a uvicorn worker, Starlette",
    ),
    Peer(
        "uvicorn + uvloop",
        UVICORN,
        (
            *("uvicorn", "asgi:app", "--app-dir={apps}", "--host=127.0.0.1", "--port={port}"),
            *("--loop=uvloop", "--http=httptools", "--no-access-log", "--log-level=warning"),
        ),
        said="a bare ASGI application, httptools, no access log",
    ),
    Peer(
        "granian",
        GRANIAN,
        (
            *("granian", "asgi:app", "--interface=asgi", "--loop=uvloop", "--working-dir={apps}"),
            *("--host=127.0.0.1", "--port={port}", "--no-access-log", "--log-level=warning"),
        ),
        said="the same ASGI application, uvloop",
    ),
    Peer(
        "func-python",
        FUNC_PYTHON,
        ("python3", "{apps}/func_python_main.py"),
        variables=(("LISTEN_ADDRESS", "127.0.0.1:{port}"),),
        said="Knative's middleware: hypercorn",
    ),
    Peer(
        "OpenFaaS python3-http",
        OPENFAAS,
        ("python3", "{apps}/openfaas_index.py", "{port}"),
        said="Flask and waitress as in its template, without watchdog and gateway",
    ),
    Peer(
        "http.server",
        NOTHING,
        ("python3", "{apps}/http_server.py", "{port}"),
        said="the standard library's, a thread per connection",
    ),
    Peer(
        "bare Tornado handler",
        TORNADO,
        ("python3", "{apps}/tornado_handler.py", "{port}"),
        said="one RequestHandler",
    ),
    Peer(
        "workerd",
        WORKERD,
        ("workerd", "serve", "{config}"),
        files=("workerd.capnp", "worker.js"),
        python=False,
        said="JavaScript, the runtime of Cloudflare's Workers",
    ),
    Peer(
        "nginx, routing",
        NGINX,
        ("nginx", "-p", "{folder}", "-c", "{config}"),
        files=("nginx.conf",),
        proxy=True,
        python=False,
        said="in front of the same fob function",
    ),
    Peer(
        "haproxy, routing",
        HAPROXY,
        ("haproxy", "-q", "-db", "-f", "{config}"),
        files=("haproxy.cfg",),
        proxy=True,
        python=False,
        said="in front of the same fob function",
    ),
)
