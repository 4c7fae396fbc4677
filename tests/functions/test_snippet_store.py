import contextlib
import errno
import os
import resource
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import live
from fob import timeline
from fob.errors import NotFound, StorageFailed
from fob.functions.store import FILE, SnippetRecord, SnippetStore

A = "0e38b688-86e3-4966-9060-cf01eef59426"
B = "11111111-86e3-4966-9060-cf01eef59426"
RECORD = SnippetRecord(b"def f():\r\n    return 1\n\n", "my fn", "2016-04-02T23:09:47.123Z")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "snippets"


@pytest.fixture
def store(folder):
    with contextlib.closing(SnippetStore(folder)) as store:
        yield store


@pytest.fixture
def changed(folder):
    """Change the database behind the store's back."""

    def change(statement):
        with contextlib.closing(sqlite3.connect(folder / FILE, isolation_level=None)) as db:
            db.execute(statement)

    return change


def test_a_confirmed_record_comes_back_byte_for_byte_from_a_new_store(store, folder):
    store.put(A, RECORD)
    store.confirm(A)
    assert SnippetStore(folder).get(A) == RECORD


def test_a_record_is_pending_until_it_is_confirmed(store):
    store.put(A, RECORD)
    assert store.pending() == [A]
    with pytest.raises(NotFound):
        store.get(A)
    store.confirm(A)
    assert store.pending() == []


def test_a_removed_id_leaves_nothing(store, folder):
    for id_ in (A, B):
        store.put(id_, RECORD)
    store.confirm(B, timeline.now("received"))
    assert store.remove(A)
    assert store.remove(B)
    assert not store.remove(B)
    assert live.records(folder) == []


def test_marks_come_back_in_order(store):
    marks = [timeline.now("received"), timeline.now("stored")]
    store.put(A, RECORD)
    store.confirm(A, *marks)
    assert store.marks(A) == marks
    assert store.marks(B) == []


def test_a_record_changed_on_disk_is_not_returned(store, changed):
    store.put(A, RECORD)
    store.confirm(A)
    changed("UPDATE snippets SET content = substr(content, 2)")
    with pytest.raises(NotFound, match="damaged"):
        store.get(A)


def test_a_record_from_before_a_crash_of_the_machine_may_have_been_confirmed(store, changed):
    store.put(A, RECORD)
    assert not store.perhaps_confirmed(A)
    assert not store.perhaps_confirmed(B)
    for boot in ("", "another"):
        changed(f"UPDATE snippets SET boot = '{boot}'")
        assert store.perhaps_confirmed(A)


def test_a_record_outlives_the_process_that_put_it(folder):
    """The process is killed, and a new one reads the folder."""
    code = f"""
import os, sys
from pathlib import Path
from fob.functions.store import SnippetRecord, SnippetStore
SnippetStore(Path({str(folder)!r})).put({A!r}, SnippetRecord(b"x", "", ""))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False, cwd=live.SERVICE)
    assert SnippetStore(folder).pending() == [A]


def test_a_failing_disk_is_reported(store, monkeypatch):
    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    store.put(A, RECORD)
    store.begin_sync().result()
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(StorageFailed, match="Input/output error"):
        store.begin_sync().result()


def test_it_is_thread_safe(store):
    ids = [str(number) for number in range(50)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda id_: (store.put(id_, RECORD), store.confirm(id_)), ids))
    assert store.pending() == []
    assert all(store.get(id_) == RECORD for id_ in ids)


def test_a_full_disk_is_reported_and_leaves_nothing(store, folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StorageFailed, match="FOB_HOME"):
            store.put(A, SnippetRecord(b"x" * 1000, "", ""))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert live.records(folder) == []
    store.put(A, RECORD)
    assert store.pending() == [A]


def test_a_folder_that_cannot_be_created_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="file"):
        SnippetStore(tmp_path / "file" / "snippets")


def test_only_the_owner_can_read_the_snippets(store, folder):
    assert folder.stat().st_mode & 0o077 == 0
