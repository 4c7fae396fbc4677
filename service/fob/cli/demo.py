"""`make demo`: from a file to an endpoint, with every HTTP exchange shown as it happens.

The service runs on a free port with a temporary state folder. At the end the demo checks that no
process, open port or file is left. Exit codes: 0 success, 1 failure, 130 interrupted by Ctrl-C.
"""

import contextlib
import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from fob.errors import FobError

TIMEOUT = 60.0
SHOWN_HEADERS = ("Host", "Content-Type", "Content-Length", "Etag", "Retry-After", "Server")


def main(file: str) -> int:
    """Run the demo with `file`; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        source = Path(file).read_bytes()
        with tempfile.TemporaryDirectory(prefix="fob-demo-") as folder:
            ports: list[int] = []
            try:
                with service(folder) as url:
                    ports.append(urlsplit(url).port or 0)
                    show(url, source, ports)
            finally:
                check_nothing_is_left(folder, ports)
        say("Done. Nothing is left behind: no process, no open port, no file.")
    except (FobError, OSError) as error:
        say(f"The demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; nothing is left behind.")
        return 130
    return 0


def show(url: str, source: bytes, ports: list[int]) -> None:
    """Register, locate, call and remove a function; add its port to `ports`."""
    say("Register the file:")
    id_ = exchange("POST", f"{url}/api/gen", source)["id"]
    say("Wait until the function is ready, and get its endpoint:")
    endpoint = exchange("GET", f"{url}/api/meta/{id_}?wait=30")
    ports.append(int(endpoint["port"]))
    say("Call the function directly at its endpoint:")
    direct = exchange("GET", f"http://{endpoint['host']}:{endpoint['port']}/")
    say("Call it through the service:")
    routed = exchange("GET", f"{url}/api/call/{id_}")
    if direct != routed:
        raise FobError(f"the two responses differ: {direct} and {routed}")
    say("Remove the function:")
    exchange("DELETE", f"{url}/api/functions/{id_}")
    say("It no longer exists:")
    exchange("GET", f"{url}/api/meta/{id_}", expected=404)


def exchange(method: str, url: str, body: bytes | None = None, expected: int = 200) -> Any:
    """Do one HTTP exchange and print it; return the JSON of the response.

    Raises `FobError` if the status is not `expected`.
    """
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    print(f"  > {method} {target} HTTP/1.1\n  > Host: {parts.netloc}")
    show_text("  > ", "" if body is None else f"Content-Length: {len(body)}\n\n{body.decode()}")
    connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT)
    started_ns = time.monotonic_ns()
    try:
        connection.request(method, target, body=body)
        response = connection.getresponse()
        content = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise FobError(f"no response from {url}: {error!r}") from error
    finally:
        connection.close()
    took_ms = (time.monotonic_ns() - started_ns) / 1e6
    headers = [
        f"{name}: {value}\n" for name, value in response.getheaders() if name in SHOWN_HEADERS
    ]
    print(f"  < HTTP/1.1 {response.status} {response.reason}      (after {took_ms:.1f} ms)")
    show_text("  < ", f"{''.join(headers)}\n{content}")
    if response.status != expected:
        raise FobError(f"{method} {url} returned {response.status}")
    return json.loads(content)


def show_text(prefix: str, text: str) -> None:
    for line in text.splitlines():
        print(f"{prefix}{line}".rstrip())
    sys.stdout.flush()


@contextlib.contextmanager
def service(folder: str) -> Iterator[str]:
    """Run a service with its state in `folder`; the context is its URL.

    Raises `FobError` if the service does not start or does not stop cleanly.
    """
    say("Start the service with fob's own engine:")
    # flags, because they take precedence over settings in the user's environment
    flags = [f"--home={folder}", "--host=127.0.0.1", "--port=0", "--marathon-api=", "--token="]
    process = subprocess.Popen(
        [sys.executable, "-m", "fob", "serve", *flags],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that Ctrl-C reaches only the demo, which stops the service
    )
    assert process.stderr is not None
    ports: queue.SimpleQueue[int] = queue.SimpleQueue()
    reader = threading.Thread(target=follow_log, args=(process.stderr, ports))
    reader.start()
    try:
        yield f"http://127.0.0.1:{port_from(ports)}"
        say("Stop the service:")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        process.terminate()
        status = process.wait(TIMEOUT)
        reader.join()
        process.stderr.close()
    if status != 0:
        raise FobError(f"the service exited with status {status}")


def follow_log(log: IO[str], ports: queue.SimpleQueue[int]) -> None:
    """Print the service's log; put its port into `ports`, and 0 when the log ends.

    Once the service listens, only warnings are printed: the exchanges show the rest.
    """
    listening = False
    for line in log:
        if not listening or " INFO " not in line:
            print(f"  {line.rstrip()}", flush=True)
        if match := re.search(r"Listening on port (\d+)", line):
            listening = True
            ports.put(int(match[1]))
    ports.put(0)


def port_from(ports: queue.SimpleQueue[int]) -> int:
    try:
        port = ports.get(timeout=TIMEOUT)
    except queue.Empty:
        port = 0
    if not port:
        raise FobError("the service did not start; see its log above")
    return port


def check_nothing_is_left(folder: str, ports: list[int]) -> None:
    """Raise `FobError` if a process of the folder runs or one of the ports is open."""
    left = [f"process {pid}" for pid in processes_of(folder)]
    left += [f"port {port}" for port in ports if is_open(port)]
    if left:
        raise FobError(f"left behind: {', '.join(left)}")


def processes_of(folder: str) -> list[str]:
    """Return the pids that have the folder as cwd or name it in their command or environment."""
    pids = (pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid())
    return [pid for pid in pids if os.fsencode(folder) in about(Path("/proc", pid))]


def about(process: Path) -> bytes:
    """Return working directory, command line and environment of a process, by its /proc folder."""
    try:
        texts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
        return b" ".join([os.fsencode((process / "cwd").readlink()), *texts])
    except OSError:  # it has just ended, or belongs to another user
        return b""


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def say(sentence: str) -> None:
    print(f"\n{sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
