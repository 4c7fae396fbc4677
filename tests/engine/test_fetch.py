"""Files that are fetched into a task's sandbox before it starts."""

import base64
import functools
import gzip
import http.server
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import live

FOREVER = "exec sleep 1000"


class Files(http.server.SimpleHTTPRequestHandler):
    """A folder, and some pages that behave otherwise; `requested` are the paths of requests."""

    requested: list[str]

    def do_GET(self) -> None:
        self.requested.append(self.path)
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/plain.txt")
            self.end_headers()
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
        elif self.path == "/private" and self.headers["Authorization"] != PAIR:
            self.send_error(401)
        elif self.path == "/never":
            self.server.over.wait(live.PATIENCE_SECONDS)  # type: ignore[attr-defined]
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


PAIR = "Basic " + base64.b64encode(b"me:it is").decode()


class Site:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requested: list[str] = []
        handler = type("Handler", (Files,), {"requested": self.requested})
        self._server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(handler, directory=str(folder))
        )
        self._server.over = threading.Event()  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.over.set()  # type: ignore[attr-defined]
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, name: str, content: bytes | str) -> str:
        """The URL of a file with this content."""
        data = content.encode() if isinstance(content, str) else content
        (self.folder / name).write_bytes(data)
        return f"{self.url}/{name}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    site = Site(folder)
    yield site
    site.close()


def sandbox(engine: live.Engine, fetch: list[Any], **more: Any) -> Path:
    """The sandbox of a task that runs, with what was fetched."""
    engine.run("/a", FOREVER, fetch=fetch, **more)
    (task,) = engine.running("/a")
    return engine.home / "engine" / "tasks" / "a" / task["id"].rpartition(".")[2] / "sandbox"


def failure(engine: live.Engine, fetch: list[Any], **more: Any) -> str:
    engine.run("/a", FOREVER, fetch=fetch, **more)
    said = live.until(lambda: engine.app("/a").get("lastTaskFailure"), "a failure")
    assert said["state"] == "TASK_FAILED"
    return str(said["message"])


def tarred(*members: tarfile.TarInfo | tuple[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size, info.mode = len(member[1]), 0o755
                tar.addfile(info, io.BytesIO(member[1].encode()))
    return packed.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(*members: tuple[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o755 << 16
            archive.writestr(info, content)
    return packed.getvalue()


def test_a_file_is_fetched_before_the_task_starts(engine: live.Engine, site: Site) -> None:
    url = site.put("plain.txt", "hello")
    engine.run("/a", f'test "$(cat plain.txt)" = hello && {FOREVER}', fetch=[{"uri": url}])
    engine.running("/a")
    item = {"uri": url, "extract": True, "executable": False, "cache": False}
    assert engine.app("/a")["fetch"] == [item]


def test_a_local_file_is_copied(engine: live.Engine, tmp_path: Path) -> None:
    (tmp_path / "a b").write_text("here")
    (tmp_path / "c").write_text("there")
    uris = [f"file://{tmp_path}/a%20b", f"{tmp_path}/c"]
    folder = sandbox(engine, [{"uri": uri} for uri in uris])
    assert [(folder / name).read_text() for name in ("a b", "c")] == ["here", "there"]


def test_a_file_may_have_another_name_and_be_a_program(engine: live.Engine, site: Site) -> None:
    url = site.put("x?y=z".partition("?")[0], "#!/bin/sh\nexec sleep 1000\n")
    fetch = [{"uri": f"{url}?y=z", "destPath": "bin/run", "executable": True}]
    engine.run("/a", "exec bin/run", fetch=fetch)
    engine.running("/a")


def test_a_redirect_is_followed(engine: live.Engine, site: Site) -> None:
    site.put("plain.txt", "hello")
    assert (sandbox(engine, [{"uri": f"{site.url}/moved"}]) / "moved").read_text() == "hello"


def test_user_name_and_password_are_sent_and_not_shown(engine: live.Engine, site: Site) -> None:
    site.put("private", "secret")
    url = site.url.replace("//", "//me:it%20is@") + "/private"
    folder = sandbox(engine, [{"uri": url}])
    assert (folder / "private").read_text() == "secret"
    assert "it%20is" not in (folder.parent / "stderr").read_text()
    assert not (folder.parent / "fetch").exists()


ENTRIES = (("bin/run", "#!/bin/sh"), ("lib/x", "y"))


@pytest.mark.parametrize(
    ("name", "content"),
    [("p.tgz", tarred(*ENTRIES)), ("p.tar.gz", tarred(*ENTRIES)), ("p.zip", zipped(*ENTRIES))],
)
def test_archives_are_unpacked(engine: live.Engine, site: Site, name: str, content: bytes) -> None:
    folder = sandbox(engine, [{"uri": site.put(name, content)}])
    assert (folder / "lib" / "x").read_text() == "y"
    assert os.access(folder / "bin" / "run", os.X_OK)
    assert (folder / name).read_bytes() == content


def test_links_within_an_archive_are_kept(engine: live.Engine, site: Site) -> None:
    content = tarred(
        ("real/x", "y"), link("soft", "real/x"), link("hard", "real/x", tarfile.LNKTYPE)
    )
    folder = sandbox(engine, [{"uri": site.put("p.tgz", content)}])
    assert os.readlink(folder / "soft") == "real/x"
    assert [(folder / name).read_text() for name in ("soft", "hard")] == ["y", "y"]


def test_a_compressed_file_is_unpacked(engine: live.Engine, site: Site) -> None:
    url = site.put("words.gz", gzip.compress(b"hello"))
    assert (sandbox(engine, [{"uri": url}]) / "words").read_text() == "hello"


def test_an_archive_is_not_unpacked_with_extract_false(engine: live.Engine, site: Site) -> None:
    url = site.put("p.tgz", tarred(*ENTRIES))
    folder = sandbox(engine, [{"uri": url, "extract": False}])
    assert [path.name for path in folder.iterdir()] == ["p.tgz"]


def test_the_older_key_uris_is_supported(engine: live.Engine, site: Site) -> None:
    uris = [site.put("p.tgz", tarred(*ENTRIES)), site.put("plain.txt", "hello")]
    engine.run("/a", "test -e lib/x && test -e plain.txt && exec sleep 1000", uris=uris)
    engine.running("/a")
    stored = engine.app("/a")
    assert [(item["uri"], item["extract"]) for item in stored["fetch"]] == [
        (uris[0], True),
        (uris[1], False),
    ]
    assert "uris" not in stored


@pytest.mark.parametrize(
    "content",
    [
        tarred(("../evil", "x")),
        tarred(("/tmp/evil", "x")),
        tarred(link("out", "../.."), ("out/evil", "x")),
        tarred(link("out", "/tmp")),
        tarred(link("w", "q/.."), link("q", "."), ("w/evil", "x")),
    ],
    ids=["above", "absolute", "through a link", "a link", "a link of links"],
)
def test_nothing_is_unpacked_outside_the_sandbox(
    engine: live.Engine, site: Site, content: bytes
) -> None:
    said = failure(engine, [{"uri": site.put("p.tgz", content)}])
    assert "would be outside the sandbox" in said
    assert not list(engine.home.rglob("evil"))


def test_nothing_in_a_zip_is_unpacked_outside_the_sandbox(engine: live.Engine, site: Site) -> None:
    said = failure(engine, [{"uri": site.put("p.zip", zipped(("../evil", "x")))}])
    assert "../evil would be outside the sandbox" in said
    assert not list(engine.home.rglob("evil"))


def test_devices_are_not_unpacked(engine: live.Engine, site: Site) -> None:
    content = tarred(link("pipe", "", tarfile.FIFOTYPE))
    said = failure(engine, [{"uri": site.put("p.tgz", content)}])
    assert "pipe is neither a file, nor a folder, nor a link" in said


@pytest.mark.parametrize(
    ("path", "why"),
    [("nothing", "HTTP Error 404"), ("short", "the connection was closed 96 bytes too early")],
)
def test_a_failure_says_what_could_not_be_fetched_and_why(
    engine: live.Engine, site: Site, path: str, why: str
) -> None:
    said = failure(engine, [{"uri": f"{site.url}/{path}"}])
    assert said.startswith(f"Failed to fetch {site.url}/{path}: {why}")


def test_a_missing_file_is_tried_again(engine: live.Engine, tmp_path: Path) -> None:
    late = tmp_path / "late"
    said = failure(engine, [{"uri": str(late)}], backoffSeconds=0)
    assert "No such file or directory" in said
    late.write_text("now")
    engine.running("/a")


def test_a_corrupt_archive_is_a_failure(engine: live.Engine, site: Site) -> None:
    said = failure(engine, [{"uri": site.put("p.tgz", b"no archive")}])
    assert said.startswith(f"Failed to fetch {site.url}/p.tgz: ")


def test_files_are_not_fetched_beyond_the_size_limit(
    start_engine: Callable[..., live.Engine], site: Site
) -> None:
    engine = start_engine(FOB_FETCH_MIB="0.1")
    bomb = gzip.compress(b"\0" * 2**20)
    said = failure(engine, [{"uri": site.put("x.gz", bomb)}])
    assert "the files of a task take more than FOB_FETCH_MIB allows" in said


def test_fetching_has_a_time_limit(start_engine: Callable[..., live.Engine], site: Site) -> None:
    engine = start_engine(FOB_FETCH_SECONDS="0.5")
    said = failure(engine, [{"uri": f"{site.url}/never"}])
    assert said.startswith("Failed to fetch its files within 0.5 seconds (FOB_FETCH_SECONDS)")


def test_a_task_is_staged_while_it_waits_and_can_be_removed(
    engine: live.Engine, site: Site
) -> None:
    engine.run("/a", FOREVER, fetch=[{"uri": f"{site.url}/never"}])
    live.until(lambda: site.requested, "the request")
    assert [task["state"] for task in engine.app("/a")["tasks"]] == ["TASK_STAGING"]
    engine.ask("DELETE", "/v2/apps//a?force=true")
    live.until(lambda: not engine.get("/v2/deployments"), "its end")
    live.until(lambda: not [p for p in live.processes_of(engine.home) if "fetcher" in p])


def test_a_cached_file_is_fetched_once(engine: live.Engine, site: Site) -> None:
    url = site.put("plain.txt", "hello")
    engine.run("/a", FOREVER, fetch=[{"uri": url, "cache": True}])
    engine.running("/a")
    engine.ask("PUT", "/v2/apps//a?force=true", json={"instances": 3})
    for task in engine.running("/a", 3):
        number = task["id"].rpartition(".")[2]
        copy = engine.home / "engine" / "tasks" / "a" / number / "sandbox" / "plain.txt"
        assert copy.read_text() == "hello"
        copy.write_text("its own")
    assert site.requested == ["/plain.txt"]


@pytest.mark.parametrize(
    ("item", "path", "error"),
    [
        ({}, "/fetch(0)/uri", "'uri' is undefined on object: {}"),
        ({"uri": "x"}, "/fetch(0)/uri", "URI has invalid syntax."),
        (
            {"uri": "hdfs://x/y"},
            "/fetch(0)/uri",
            "this engine fetches http, https and file URIs, not hdfs",
        ),
        (
            {"uri": "http://x/y", "destPath": "../y"},
            "/fetch(0)/destPath",
            "must be a path within the sandbox",
        ),
        ({"uri": "http://x/"}, "/fetch(0)/destPath", "must be a path within the sandbox"),
    ],
)
def test_an_invalid_item_is_refused(
    engine: live.Engine, item: dict[str, str], path: str, error: str
) -> None:
    app = {"id": "/a", "cmd": "true", "fetch": [item]}
    answer = engine.ask("POST", "/v2/apps", json=app)
    assert answer.status_code == 422, answer.text
    assert answer.json()["details"] == [{"path": path, "errors": [error]}]
