import json
import os
import resource

import pytest

from fob import timeline
from fob.errors import NotFound, StorageFailed
from fob.snippets import Record, Snippets

A = "0e38b688-86e3-4966-9060-cf01eef59426"
B = "11111111-86e3-4966-9060-cf01eef59426"
RECORD = Record(b"def f():\r\n    return 1\n\n", "my fn", "2016-04-02T23:09:47.123Z")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state" / "snippets"


@pytest.fixture
def store(folder):
    return Snippets(folder)


def test_a_confirmed_record_comes_back_byte_for_byte_from_a_new_store(store, folder):
    store.put(A, RECORD)
    store.confirm(A)
    assert Snippets(folder).get(A) == RECORD


def test_a_record_is_pending_until_it_is_confirmed(store):
    store.put(A, RECORD)
    assert store.pending() == [A]
    with pytest.raises(NotFound):
        store.get(A)
    store.confirm(A)
    assert store.pending() == []


def test_a_removed_id_leaves_no_file(store, folder):
    for id_ in (A, B):
        store.put(id_, RECORD)
    store.confirm(B, timeline.now("received"))
    assert store.remove(A)
    assert store.remove(B)
    assert not store.remove(B)
    assert os.listdir(folder) == []


def test_marks_come_back_in_order(store):
    marks = [timeline.now("received"), timeline.now("stored")]
    store.put(A, RECORD)
    store.confirm(A, *marks)
    assert store.marks(A) == marks
    assert store.marks(B) == []


def test_a_record_changed_on_disk_is_not_given_out(store, folder):
    store.put(A, RECORD)
    store.confirm(A)
    path = folder / f"{A}.snippet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(NotFound):
        store.get(A)
    path.write_bytes(b"")
    with pytest.raises(NotFound):
        store.get(A)


def test_half_a_record_that_a_crash_left_is_pending(folder):
    folder.mkdir(parents=True)
    (folder / f"{A}.pending").write_bytes(b"half a rec")
    store = Snippets(folder)
    assert store.pending() == [A]
    with pytest.raises(NotFound):
        store.get(A)
    assert store.remove(A)
    assert os.listdir(folder) == []


def test_a_record_of_before_the_machine_went_down_may_have_been_confirmed(store, folder):
    store.put(A, RECORD)
    assert not store.perhaps_confirmed(A)
    path = folder / f"{A}.pending"
    fields, _, content = path.read_bytes().partition(b"\n")
    for boot in ("", "another"):
        before = json.dumps(json.loads(fields) | {"boot": boot}).encode()
        path.write_bytes(before + b"\n" + content)
        assert store.perhaps_confirmed(A)
    path.write_bytes(before + b"\n" + content[:-1])  # not whole, so nobody was told
    assert not store.perhaps_confirmed(A)


def test_a_full_disk_is_told_and_leaves_nothing(store, folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(StorageFailed, match="FOB_HOME"):
            store.put(A, Record(b"x" * 1000, "", ""))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(folder) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFailed, match="file"):
        Snippets(tmp_path / "file" / "snippets")


def test_the_snippets_are_for_their_owner_only(store, folder):
    assert folder.stat().st_mode & 0o077 == 0
