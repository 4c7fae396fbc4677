"""Files with dependencies, from POST to response; pip is real, and mostly offline."""

import os
import re
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import live
from indexes import index_of, silent_index
from wheels import offline, wheel
from zips import zipped


def source(*requirements: str, python: str = ">=3.9", body: str = "") -> str:
    listed = ", ".join(f'"{requirement}"' for requirement in requirements)
    modules = ", ".join(re.split(r"\W", requirement)[0] for requirement in requirements)
    return f"""# /// script
# requires-python = "{python}"
# dependencies = [{listed}]
# ///
{body or f"import {modules}"}
def call(): return {modules}.VERSION
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    wheel(tmp_path / "wheels", "one", "1.0")
    wheel(tmp_path / "wheels", "one", "2.0")
    return tmp_path / "wheels"


@pytest.fixture
def dispatcher(start_dispatcher: Callable[..., live.Dispatcher], wheels: Path) -> live.Dispatcher:
    """A dispatcher whose engine installs packages from `wheels` only."""
    return start_dispatcher(**offline(wheels))


def installations(dispatcher: live.Dispatcher) -> int:
    log = (dispatcher.home / "engine" / "log").read_text()
    return len(re.findall(r"Building environment \w+", log))


def details(dispatcher: live.Dispatcher, id_: str) -> Any:
    return dispatcher.ask("GET", f"/api/functions/{id_}").json()


def not_ready(dispatcher: live.Dispatcher, id_: str) -> Any:
    answer = dispatcher.ask("GET", f"/api/meta/{id_}?wait=20")
    assert answer.status_code == 503, answer.text
    return answer.json()["error"]


def test_a_file_imports_the_package_it_declares(dispatcher: live.Dispatcher) -> None:
    id_ = dispatcher.gen(source("one<2"))
    assert dispatcher.call(id_).json() == {"result": "1.0"}
    told = details(dispatcher, id_)
    assert told["dependencies"] == {"requirements": ["one<2"], "requires_python": ">=3.9"}
    marks = [mark["mark"] for mark in told["instances"][0]["timeline"]]
    assert marks[:4] == ["placed", "environment_begun", "environment_ready", "spawned"]
    assert (
        "Successfully installed one-1.0" in dispatcher.ask("GET", f"/api/functions/{id_}/logs").text
    )


def test_a_zip_imports_the_packages_of_its_requirements_file(
    dispatcher: live.Dispatcher,
) -> None:
    main = "import one\ndef main(): return one.VERSION\n"
    archive = zipped({"main.py": main, "requirements.txt": "# what it needs\none < 2\n"})
    id_ = dispatcher.gen(archive)
    assert dispatcher.call(id_).json() == {"result": "1.0"}
    assert details(dispatcher, id_)["dependencies"]["requirements"] == ["one<2"]
    assert dispatcher.call(dispatcher.gen(source("one<2"))).json() == {"result": "1.0"}
    assert installations(dispatcher) == 1


def test_files_with_the_same_dependencies_share_one_installation(
    dispatcher: live.Dispatcher,
) -> None:
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(dispatcher.gen, [source("one")] * 4))
    ids += [dispatcher.gen(source("one ") + "# another file")]
    assert [dispatcher.call(id_).json()["result"] for id_ in ids] == ["2.0"] * 5
    assert installations(dispatcher) == 1
    marks = [mark["mark"] for mark in details(dispatcher, ids[-1])["instances"][0]["timeline"]]
    assert "spawned" in marks


def test_two_versions_of_a_package_run_side_by_side(dispatcher: live.Dispatcher) -> None:
    ids = [dispatcher.gen(source(f"one=={version}")) for version in ("1.0", "2.0")]
    assert [dispatcher.call(id_).json()["result"] for id_ in ids] == ["1.0", "2.0"]


@pytest.mark.skipif(not shutil.which("uv"), reason="uv is not installed here")
def test_uv_installs_packages_if_it_is_available(
    start_dispatcher: Callable[..., live.Dispatcher], wheels: Path
) -> None:
    settings = offline(wheels) | {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheels)}
    dispatcher = start_dispatcher(**settings | {"PATH": os.environ["PATH"]})
    id_ = dispatcher.gen(source("one"))
    assert dispatcher.call(id_).json()["result"] == "2.0"
    assert "Resolved 1 package" in dispatcher.ask("GET", logs_of(id_)).text
    error = not_ready(dispatcher, dispatcher.gen(source("one==9")))
    assert "uv exited with status 1" in error["message"]
    assert "there is no version of one==9" in error["details"]["last_failure"]["message"]


def test_an_unknown_version_is_reported_in_pips_words(dispatcher: live.Dispatcher) -> None:
    error = not_ready(dispatcher, dispatcher.gen(source("one==9")))
    assert error["details"]["state"] == "failed"
    assert (
        "Its dependencies cannot be installed: pip exited with status 1: ERROR: No matching"
        " distribution found for one==9" in error["message"]
    )
    assert "(from versions: 1.0, 2.0)" in error["details"]["last_failure"]["message"]
    id_ = dispatcher.gen(source("one"))
    assert dispatcher.call(id_).json()["result"] == "2.0"


def test_conflicting_dependencies_are_reported_in_pips_words(dispatcher: live.Dispatcher) -> None:
    error = not_ready(dispatcher, dispatcher.gen(source("one==1.0", "one==2.0")))
    assert "conflict" in error["details"]["last_failure"]["message"]


def test_a_wrong_python_version_is_reported(dispatcher: live.Dispatcher) -> None:
    error = not_ready(dispatcher, dispatcher.gen(source("one", python="<3")))
    assert "It requires Python <3, and this engine has 3." in error["message"]
    assert installations(dispatcher) == 0


def test_wrong_metadata_is_refused_and_leaves_nothing(dispatcher: live.Dispatcher) -> None:
    answer = dispatcher.ask("POST", "/api/gen", data=source("one=>2"))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_metadata"
    assert answer.json()["error"]["details"] == {"line": 3}
    assert dispatcher.ask("GET", "/api/functions").json() == {"functions": []}


def test_a_function_that_waits_for_its_packages_says_so(
    start_dispatcher: Callable[..., live.Dispatcher], tmp_path: Path
) -> None:
    with silent_index() as url:
        dispatcher = start_dispatcher(**online(tmp_path, url))
        id_ = dispatcher.gen(source("one"))
        answer = dispatcher.ask("GET", f"/api/meta/{id_}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert (
            "(starting): It is starting; its dependencies are installed first: one" in answer.text
        )
        live.until(lambda: "Looking in" in dispatcher.ask("GET", logs_of(id_)).text)
        assert dispatcher.ask("DELETE", f"/api/functions/{id_}").status_code == 200


def logs_of(id_: str) -> str:
    return f"/api/functions/{id_}/logs"


def test_an_index_that_never_responds_is_given_up(
    start_dispatcher: Callable[..., live.Dispatcher], tmp_path: Path
) -> None:
    with silent_index() as url:
        dispatcher = start_dispatcher(**online(tmp_path, url), FOB_BUILD_SECONDS="2")
        error = not_ready(dispatcher, dispatcher.gen(source("one")))
    assert "cannot be installed: it took longer than 2 seconds" in error["message"]


def test_a_package_that_no_index_has_is_reported_in_pips_words(
    start_dispatcher: Callable[..., live.Dispatcher], wheels: Path
) -> None:
    with index_of(wheels) as url:
        dispatcher = start_dispatcher(**online(wheels, url))
        error = not_ready(dispatcher, dispatcher.gen(source("one", "no-such-package")))
        assert "No matching distribution found for no-such-package" in error["message"]
        assert dispatcher.call(dispatcher.gen(source("one"))).json()["result"] == "2.0"


def test_a_yanked_version_is_skipped_or_reported(
    start_dispatcher: Callable[..., live.Dispatcher], wheels: Path
) -> None:
    with index_of(wheels, yanked={"one-2.0-py3-none-any.whl": "it is broken"}) as url:
        dispatcher = start_dispatcher(**online(wheels, url))
        error = not_ready(dispatcher, dispatcher.gen(source("one>=2")))
        assert dispatcher.call(dispatcher.gen(source("one"))).json()["result"] == "1.0"
    assert "No matching distribution found for one>=2" in error["message"]


def test_a_pinned_yanked_version_is_installed_with_a_warning(
    start_dispatcher: Callable[..., live.Dispatcher], wheels: Path
) -> None:
    with index_of(wheels, yanked={"one-2.0-py3-none-any.whl": "it is broken"}) as url:
        dispatcher = start_dispatcher(**online(wheels, url))
        id_ = dispatcher.gen(source("one==2.0"))
        assert dispatcher.call(id_).json()["result"] == "2.0"
    assert "Reason for being yanked: it is broken" in dispatcher.ask("GET", logs_of(id_)).text


def test_a_function_that_installs_its_packages_gets_memory_for_that(
    start_engine: Callable[..., live.Engine],
    start_dispatcher: Callable[..., live.Dispatcher],
    tmp_path: Path,
) -> None:
    engine = start_engine()
    dispatcher = start_dispatcher(
        tmp_path / "cluster", MARATHON_API=engine.url, FOB_MARATHON_TOKEN=engine.token,
        FOB_HOST="127.0.0.1",
    )  # fmt: skip
    ids = [dispatcher.gen(text, "?instances=0") for text in (source("one"), "def f(): pass")]
    ids.append(dispatcher.gen(source("one"), "?instances=0&mem=100"))
    assert [details(dispatcher, id_)["settings"]["mem"] for id_ in ids] == [256, 64, 100]


def test_without_a_network_the_reason_is_reported_and_a_change_retries(
    start_dispatcher: Callable[..., live.Dispatcher], tmp_path: Path
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        port = closed.getsockname()[1]
    settings = online(tmp_path, f"http://127.0.0.1:{port}/simple") | {"PIP_RETRIES": "1"}
    dispatcher = start_dispatcher(**settings)
    id_ = dispatcher.gen(source("one"))
    failure = not_ready(dispatcher, id_)["details"]["last_failure"]
    assert "Connection refused" in failure["message"]
    assert dispatcher.ask("PATCH", f"/api/functions/{id_}", json={"mem": 65}).status_code == 200
    live.until(lambda: installations(dispatcher) == 2)


def online(folder: Path, url: str) -> dict[str, str]:
    """Settings with which pip uses only the index at `url`, without retries."""
    settings = offline(folder) | {"PIP_INDEX_URL": url, "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}
    return {k: v for k, v in settings.items() if k != "PIP_NO_INDEX"} | {"PIP_FIND_LINKS": ""}
