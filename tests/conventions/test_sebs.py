"""The modules that SeBS puts beside its functions: storage and nosql, on a folder."""

from pathlib import Path

import pytest
from talk import Serve

STORAGE = """
import io, os
{}
client = storage.storage.get_instance()

def handler(event):
    with open("in.txt", "w") as file: file.write("data")
    key = client.upload("bucket", "a/b.txt", "in.txt")
    client.download("bucket", key, "out/copy.txt")
    more = client.upload_stream("bucket", "a/c.bin", io.BytesIO(b"more"))
    client.download_directory("bucket", "a/", "all")
    return {{
        "key": key, "same": open("out/copy.txt").read(),
        "stream": client.download_stream("bucket", more).decode(),
        "all": sorted(os.listdir("all/a")), "listed": sorted(client.list_directory("bucket", "a/")),
        "one": client is storage.storage.get_instance(),
    }}
"""


@pytest.mark.parametrize("way", ["from . import storage", "import storage"])
def test_storage_keeps_objects_in_buckets(serve: Serve, way: str) -> None:
    runner = serve(STORAGE.format(way))
    got = runner.call("/", {}).result
    assert got["key"].startswith("a/b.")
    assert got["key"].endswith(".txt")
    assert (got["same"], got["stream"], got["one"]) == ("data", "more", True)
    assert [f"a/{name}" for name in got["all"]] == got["listed"]
    assert len(got["all"]) == 2
    assert len(list((runner.folder / "storage" / "bucket" / "a").iterdir())) == 2


def test_the_setting_says_where(serve: Serve, tmp_path: Path) -> None:
    serve(STORAGE.format("import storage"), FOB_STORAGE=str(tmp_path / "kept")).call("/", {})
    assert (tmp_path / "kept" / "storage" / "bucket").is_dir()


def test_a_directory_without_objects_is_an_error(serve: Serve) -> None:
    runner = serve(
        "from . import storage\n"
        "def go(): storage.storage.get_instance().download_directory('b', 'none/', 'all')"
    )
    assert "no objects in bucket 'b' with prefix 'none/'" in runner.call().error["message"]


@pytest.mark.parametrize(
    ("bucket", "name"), [("..", "x"), ("b", "../../x"), ("b", "/etc/x"), ("", "x")]
)
def test_nothing_outside_a_bucket_is_reached(serve: Serve, bucket: str, name: str) -> None:
    runner = serve(
        "from . import storage\n"
        "def go(bucket, name):\n"
        "    return storage.storage.get_instance().upload_stream(bucket, name, b'x')"
    )
    answer = runner.call("/", {"bucket": bucket, "name": name})
    assert answer.error["details"]["type"] == "ValueError"


def test_nosql_keeps_items_by_two_keys(serve: Serve) -> None:
    runner = serve(
        "from . import nosql\n"
        "db = nosql.nosql.get_instance()\n"
        "def handler(event):\n"
        "    one, two, other = ('k', '1'), ('s', 'a'), ('s', 'b/../..')\n"
        "    db.insert('t', one, two, {'n': 1})\n"
        "    db.insert('t', one, other, {'n': 2})\n"
        "    db.update('t', one, two, {'n': 3, 'm': None})\n"
        "    seen = [db.get('t', one, two), db.query('t', one, 's')]\n"
        "    seen.append(db.query('t', ('k', '2'), 's'))\n"
        "    db.delete('t', one, two)\n"
        "    db.delete('t', one, two)\n"
        "    try: db.get('t', one, two)\n"
        "    except KeyError: seen.append('gone')\n"
        "    return seen"
    )
    item = {"k": "1", "s": "a", "n": 3, "m": None}
    other = {"k": "1", "s": "b/../..", "n": 2}
    assert runner.call("/", {}).result == [item, [item, other], [], "gone"]


def test_a_module_of_the_users_own_wins(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "storage.py").write_text("mine = True")
    runner = serve("import storage\ndef go(): return storage.mine", FOB_SITE_PACKAGES=str(tmp_path))
    assert runner.call().result is True


def test_any_other_relative_import_fails_as_usual(launch: Serve) -> None:
    runner = launch("from . import other\ndef go(): pass")
    assert runner.exit_code() == 3
    assert "ImportError: cannot import name 'other' from 'snippet'" in runner.stderr
