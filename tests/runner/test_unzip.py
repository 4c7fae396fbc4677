"""Archives: which the runner accepts, and which it rejects."""

import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fob.runner.features import unzip
from zips import Raw, raw, zipped

FILES = {"b.py": b"B = 1\n", "a/c.txt": b"text" * 1000, "a/empty": b""}


def refused(body: bytes, kind: type[Exception] = unzip.BadArchive) -> str:
    with pytest.raises(kind) as caught:
        unzip.read(body)
    return str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_stored_and_deflated_files_are_read_in_the_order_of_their_names(method: int) -> None:
    assert list(unzip.read(zipped(FILES, method)).items()) == sorted(FILES.items())


def test_an_archive_of_the_zip_command_is_read(tmp_path: Path) -> None:
    for path, content in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    for command in ("zip -rq made.zip a b.py", "zip -rq - a b.py > made.zip"):
        (tmp_path / "made.zip").unlink(missing_ok=True)
        subprocess.run(command, shell=True, cwd=tmp_path, check=True)
        assert unzip.read((tmp_path / "made.zip").read_bytes()) == FILES


def test_an_archive_written_as_a_stream_is_read(tmp_path: Path) -> None:
    class Pipe:
        """A file that cannot seek, so that sizes follow the data."""

        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += data
            return len(data)

        def flush(self) -> None:
            pass

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as target:  # type: ignore[call-overload]
        for path, content in FILES.items():
            target.writestr(path, content)
    assert unzip.read(pipe.data) == FILES


def test_a_comment_at_the_end_is_ignored() -> None:
    assert unzip.read(raw(Raw(b"a.py", b"A"), comment=b"f00d" * 10)) == {"a.py": b"A"}


def test_a_single_top_folder_is_left_out_of_paths() -> None:
    held = unzip.read(zipped({"repo-main/": "", "repo-main/app.py": "A", "repo-main/x/y": "B"}))
    assert held == {"app.py": b"A", "x/y": b"B"}


def test_a_single_top_folder_stays_if_it_is_a_package() -> None:
    assert set(unzip.read(zipped({"p/__init__.py": "", "p/m.py": ""}))) == {
        "p/__init__.py",
        "p/m.py",
    }


def test_files_that_macos_adds_are_left_out() -> None:
    assert set(unzip.read(zipped({"f/a.py": "", "__MACOSX/f/._a.py": b"\0\1"}))) == {"a.py"}


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (b"/etc/passwd", "is absolute"),
        (b"C:/x.py", "is absolute"),
        (b"../x.py", "a part that is empty, . or .."),
        (b"a/../../x.py", "a part that is empty, . or .."),
        (b"a/..", "a part that is empty, . or .."),
        (b"./x.py", "a part that is empty, . or .."),
        (b"a//x.py", "a part that is empty, . or .."),
        (b"", "a part that is empty, . or .."),
        (b"..\\x.py", "a backslash"),
        (b"x.py\0.txt", "unprintable"),
        (b"x\n.py", "unprintable"),
        (b"caf\xe9.py", "is not UTF-8"),
        (b"\xed\xb2\x80.py", "is not UTF-8"),
        (b"x" * 256, "is longer than 255 bytes"),
    ],
)
def test_a_name_that_is_not_a_plain_relative_path_is_rejected(name: bytes, problem: str) -> None:
    assert problem in refused(raw(Raw(name)))


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("a.py", "a.py"), "'a.py' and 'a.py' are the same name"),
        (("a.py", "A.py"), "are the same name"),
        (("straße", "STRASSE"), "are the same name"),
        (("a", "a/"), "are the same name"),
        (("a", "a/b"), "'a' is a file and a folder"),
        (("a/b/c", "A"), "'A' is a file and a folder"),
    ],
)
def test_names_that_cannot_coexist_are_rejected(names: Any, problem: str) -> None:
    assert problem in refused(raw(*(Raw(name.encode()) for name in names)))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (Raw(b"l", b"/etc/passwd", mode=0o120777), "'l' is a link"),
        (Raw(b"p", mode=0o010644), "'p' is a special file"),
        (Raw(b"d", mode=0o020644), "'d' is a special file"),
        (Raw(b"f", mode=0o040755), "a folder with a file's name"),
        (Raw(b"f/", b"content"), "a folder with content"),
        (Raw(b"a", b"A", flags=1), "'a' is encrypted"),
        (Raw(b"a", b"A", flags=0x2000), "'a' is encrypted"),
        (Raw(b"a", b"A", method=12), "packed by method 12"),
        (Raw(b"a", b"A", crc=1), "does not match its size and checksum"),
        (Raw(b"a", b"A" * 99, method=8, size=98), "does not match its size and checksum"),
        (Raw(b"a", b"A" * 99, method=8, size=100), "does not match its size and checksum"),
        (Raw(b"a", b"A", size=2), "does not match its size and checksum"),
        (Raw(b"a", b"A", local_name=b"b"), "its two names differ"),
        (Raw(b"a", b"A", at=1), "misplaced"),
        (Raw(b"a", b"A", at=2**32 - 1), "misplaced"),
    ],
)
def test_an_entry_that_is_not_a_complete_plain_file_is_rejected(entry: Raw, problem: str) -> None:
    assert problem in refused(raw(entry))


def test_data_that_is_not_deflated_as_declared_is_rejected() -> None:
    body = raw(Raw(b"a", b"A" * 99, method=8))
    assert "cannot be unpacked" in refused(
        body.replace(Raw(b"a", b"A" * 99, 8).data()[:2], b"\xff\xff")
    )


def test_overlapping_entries_are_rejected() -> None:
    inner = Raw(b"b", b"B" * 9)
    outer = Raw(b"a", inner.local())
    body = raw(outer, Raw(b"b", b"B" * 9, at=len(outer.local()) - len(inner.local())))
    assert "overlaps" in refused(body)
    assert "misplaced" in refused(raw(Raw(b"a", b"A"), Raw(b"a2", b"A", at=0)))


@pytest.mark.parametrize("size", [0, 3, 30, 60, 90, -1])
def test_a_truncated_archive_is_rejected(size: int) -> None:
    refused(zipped(FILES)[:size])


@pytest.mark.parametrize(
    "body",
    [
        b"x" + zipped(FILES),
        zipped(FILES) + b"x",
        raw(Raw(b"a"), count=2),
        raw(Raw(b"a"), Raw(b"b"), count=1),
    ],
)
def test_an_archive_with_a_misplaced_directory_is_rejected(body: bytes) -> None:
    refused(body)


@pytest.mark.parametrize("body", [zipped({}), zipped({"a/": ""}), zipped({"__MACOSX/a": "a"})])
def test_an_archive_without_files_is_rejected(body: bytes) -> None:
    assert refused(body) == "it holds no files"


def test_too_many_entries_are_rejected_with_the_numbers() -> None:
    message = refused(zipped({f"{n}.txt": "" for n in range(1001)}), unzip.TooMuch)
    assert message == "it has 1001 entries, more than the limit of 1000"
    assert len(unzip.read(zipped({f"{n}.txt": "" for n in range(1000)}))) == 1000


def test_an_archive_that_unpacks_to_too_much_is_rejected_before_it_is_unpacked() -> None:
    message = refused(raw(Raw(b"a", b"", size=2**32 - 1)), unzip.TooMuch)
    assert message == "it unpacks to 4294967295 bytes, more than the limit of 10485760"
    bomb = raw(Raw(b"a", bytes(2 << 20), method=8))
    assert "times its size, more than the limit of 100" in refused(bomb, unzip.TooMuch)


def test_a_bomb_that_lies_about_its_size_is_not_unpacked() -> None:
    assert "another size" in refused(raw(Raw(b"a", bytes(64 << 20), method=8, size=100)))


@settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_a_changed_archive_is_read_or_rejected_with_a_reason(
    changes: list[tuple[int, int]],
) -> None:
    body = bytearray(zipped({"a.py": b"A = 1\n" * 9, "b/c.py": b"C = 2\n", "d.txt": b"D"}))
    for at, value in changes:
        body[at % len(body)] = value
    try:
        held = unzip.read(bytes(body))
    except (unzip.BadArchive, unzip.TooMuch):
        return
    assert all(unzip.path_of(path.encode()) == path for path in held)
