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
    assert Snippets(folder).registered() == [A]


def test_a_record_is_pending_until_it_is_confirmed(store):
    store.put(A, RECORD)
    assert (store.pending(), store.registered()) == ([A], [])
    with pytest.raises(NotFound):
        store.get(A)
    store.confirm(A)
    assert (store.pending(), store.registered()) == ([], [A])


def test_a_removed_id_leaves_no_file(store, folder):
    for id_ in (A, B):
        store.put(id_, RECORD)
        store.mark(id_, timeline.now("received"))
    store.confirm(B)
    assert store.remove(A)
    assert store.remove(B)
    assert not store.remove(B)
    assert os.listdir(folder) == []


def test_marks_come_back_in_order(store):
    marks = [timeline.now("received"), timeline.now("stored")]
    store.mark(A, *marks)
    store.mark(A, last := timeline.now("posted"))
    assert store.marks(A) == [*marks, last]
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


def test_the_leavings_of_a_crash_are_swept_at_the_next_start(store, folder):
    (folder / f"{A}.temporary").write_bytes(b"half a rec")
    Snippets(folder)
    assert os.listdir(folder) == []


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
