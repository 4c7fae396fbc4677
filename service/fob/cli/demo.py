"""`make demo`: one file's way to an answer, every HTTP exchange shown as it happens.

The service runs in a state folder of its own, on a free port; nothing of it is left behind, and the
demo says so only after looking. Exit codes: 0 all went well, 1 something did not, 130 Ctrl-C.
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

PATIENCE_SECONDS = 60.0
SHOWN_HEADERS = ("Host", "Content-Type", "Content-Length", "Etag", "Retry-After", "Server")


def main(file: str) -> int:
    """Show how `file` becomes an endpoint; return the exit code."""
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
        say("Nothing is left: no process, no open port, no file. That was all.")
    except (FobError, OSError) as error:
        say(f"The demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        say("Stopped; nothing was left behind.")
        return 130
    return 0


def show(url: str, source: bytes, ports: list[int]) -> None:
    """Register, find, call and remove the function; its port is added to `ports`."""
    say("Register the file:")
    id_ = exchange("POST", f"{url}/api/gen", source)["id"]
    say("Ask where it answers, and wait until it does:")
    where = exchange("GET", f"{url}/api/meta/{id_}?wait=30")
    ports.append(int(where["port"]))
    say("Call it there, straight:")
    direct = exchange("GET", f"http://{where['host']}:{where['port']}/")
    say("Call it through the service:")
    routed = exchange("GET", f"{url}/api/call/{id_}")
    if direct != routed:
        raise FobError(f"the two answers differ: {direct} and {routed}")
    say("Remove it:")
    exchange("DELETE", f"{url}/api/functions/{id_}")
    say("It is gone:")
    exchange("GET", f"{url}/api/meta/{id_}", expected=404)


def exchange(method: str, url: str, body: bytes | None = None, expected: int = 200) -> Any:
    """One HTTP exchange, printed; return the JSON answered.

    Raises `FobError` when the status is not the `expected` one.
    """
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    print(f"  > {method} {target} HTTP/1.1\n  > Host: {parts.netloc}")
    show_text("  > ", "" if body is None else f"Content-Length: {len(body)}\n\n{body.decode()}")
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_SECONDS)
    started_ns = time.monotonic_ns()
    try:
        connection.request(method, target, body=body)
        answer = connection.getresponse()
        content = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise FobError(f"no answer from {url}: {error!r}") from error
    finally:
        connection.close()
    took_ms = (time.monotonic_ns() - started_ns) / 1e6
    headers = [f"{name}: {value}\n" for name, value in answer.getheaders() if name in SHOWN_HEADERS]
    print(f"  < HTTP/1.1 {answer.status} {answer.reason}      (after {took_ms:.1f} ms)")
    show_text("  < ", f"{''.join(headers)}\n{content}")
    if answer.status != expected:
        raise FobError(f"{method} {url} answered {answer.status}")
    return json.loads(content)


def show_text(prefix: str, text: str) -> None:
    for line in text.splitlines():
        print(f"{prefix}{line}".rstrip())
    sys.stdout.flush()


@contextlib.contextmanager
def service(folder: str) -> Iterator[str]:
    """A running service with its state in `folder`; its URL. Stopped at the end, whatever happens.

    Raises `FobError` when it does not start, or does not stop cleanly.
    """
    say("Start the service, on fob's own engine:")
    # the flags win over whatever the user's environment says
    flags = [f"--home={folder}", "--host=127.0.0.1", "--port=0", "--marathon-api=", "--token="]
    process = subprocess.Popen(
        [sys.executable, "-m", "fob", "serve", *flags],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the demo, which then stops the service
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
        status = process.wait(PATIENCE_SECONDS)
        reader.join()
        process.stderr.close()
    if status != 0:
        raise FobError(f"the service ended with status {status}")


def follow_log(log: IO[str], ports: queue.SimpleQueue[int]) -> None:
    """Print the service's log; pass on the port it names, or 0 when it ends.

    Once it is up, only warnings: the exchanges tell the rest.
    """
    up = False
    for line in log:
        if not up or " INFO " not in line:
            print(f"  {line.rstrip()}", flush=True)
        if match := re.search(r"Listening on port (\d+)", line):
            up = True
            ports.put(int(match[1]))
    ports.put(0)


def port_from(ports: queue.SimpleQueue[int]) -> int:
    try:
        port = ports.get(timeout=PATIENCE_SECONDS)
    except queue.Empty:
        port = 0
    if not port:
        raise FobError("the service did not start; its log is above")
    return port


def check_nothing_is_left(folder: str, ports: list[int]) -> None:
    """Raise `FobError` when a process was started for the folder, or a port is still answered."""
    left = [f"process {pid}" for pid in processes_of(folder)]
    left += [f"port {port}" for port in ports if answers(port)]
    if left:
        raise FobError(f"left behind: {', '.join(left)}")


def processes_of(folder: str) -> list[str]:
    """The processes that work in the folder or have its name in their command or environment."""
    pids = (pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid())
    return [pid for pid in pids if os.fsencode(folder) in told_by(Path("/proc", pid))]


def told_by(process: Path) -> bytes:
    try:
        words = [(process / name).read_bytes() for name in ("cmdline", "environ")]
        return b" ".join([os.fsencode((process / "cwd").readlink()), *words])
    except OSError:  # it ended just now, or is somebody else's
        return b""


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def say(sentence: str) -> None:
    print(f"\n{sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
