"""Which archives the dispatcher accepts as functions, and how it refuses others."""

import zipfile
from io import BytesIO
from typing import Any

import pytest

from fob.errors import BadRequest, FobError, TooLarge
from fob.source import archive
from zips import Raw, raw, zipped

GOOD = {"handler.py": "def handler(): pass\n", "pkg/__init__.py": "", "data.json": "{}"}


def refused(body: bytes, entry: str | None = None) -> FobError:
    with pytest.raises(FobError) as caught:
        archive.check(body, entry)
    return caught.value


def test_an_archive_is_recognised_by_its_first_bytes() -> None:
    assert archive.is_archive(zipped(GOOD))
    assert archive.is_archive(zipped({}))
    assert not archive.is_archive(b"PK = 1\n")


def test_the_entry_and_the_files_are_found() -> None:
    found = archive.check(zipped(GOOD))
    assert (found.entry, found.name, set(found.files)) == ("handler.py", "", set(GOOD))


def test_the_requested_entry_wins() -> None:
    body = zipped({**GOOD, "p/m.py": "def a(): pass\ndef b(): pass\n"})
    assert archive.check(body, "p.m:b").entry == "p/m.py"
    assert archive.check(body, "p.m:b").name == "b"
    assert refused(body, "p.m").code == "no_callable"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (zipped(GOOD)[:-1], "it is not a complete zip archive"),
        (raw(Raw(b"../x.py")), "has a part that is empty, . or .."),
        (zipped({}), "it holds no files"),
    ],
)
def test_an_unreadable_archive_is_a_bad_request(body: bytes, words: str) -> None:
    error = refused(body)
    assert (type(error), error.code) == (BadRequest, "bad_archive")
    assert words in error.message


def test_an_error_about_a_limit_has_its_numbers() -> None:
    error = refused(raw(Raw(b"a", size=11 << 20)))
    assert (type(error), error.code) == (TooLarge, "too_large")
    assert error.details == {"size": 11 << 20, "limit": 10 << 20}


def test_more_python_than_can_be_compiled_is_too_large() -> None:
    text = "".join(f"x{n} = {n}\n" for n in range(20_000))
    assert len(text) > archive.MAX_PYTHON_FILE_BYTES
    error = refused(zipped({"main.py": text}))
    assert error.details == {"bytes": len(text), "limit": archive.MAX_PYTHON_FILE_BYTES}
    assert error.message.startswith("main.py has")
    error = refused(zipped({f"{name}.py": text for name in ("main", "a", "b", "c")}))
    assert error.details == {"bytes": len(text) * 4, "limit": archive.MAX_PYTHON_BYTES}


def test_a_missing_entry_is_reported_with_the_modules_found() -> None:
    error = refused(zipped({"a.py": "", "b.py": ""}))
    assert error.code == "no_entry"
    assert error.details == {"found": ["a", "b"]}
    assert "handler.py" in error.message
    assert "?entry=MODULE:NAME" in error.message


@pytest.mark.parametrize("path", ["handler.py", "pkg/deep/m.py"])
def test_a_syntax_error_is_reported_with_file_line_and_column(path: str) -> None:
    error = refused(zipped({**GOOD, path: "x = 1\ny = = 2\n"}))
    assert error.code == "syntax_error"
    assert error.message.startswith(f"{path}: The file has a syntax error at line 2, column 5")
    assert error.details == {"file": path, "line": 2, "column": 5, "text": "y = = 2"}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x = '\0'", b"# coding: no-such\n"])
def test_undecodable_python_is_reported_with_its_file(content: bytes) -> None:
    error = refused(zipped({**GOOD, "pkg/m.py": content}))
    assert (error.code, error.message[:10]) == ("not_text", "pkg/m.py: ")


def test_data_files_may_contain_anything() -> None:
    archive.check(zipped({**GOOD, "data.bin": bytes(range(256)), "old.py2": b"print 1"}))


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("", "empty_body"),
        ("# nothing\n", "empty_body"),
        ("def a(): 1\ndef b(): 2\n", "no_callable"),
    ],
)
def test_an_entry_module_without_a_function_is_refused(source: str, code: str) -> None:
    error = refused(zipped({**GOOD, "handler.py": source}))
    assert (error.code, error.details["file"]) == (code, "handler.py")


def test_dependencies_come_from_the_entry_and_requirements_txt() -> None:
    metadata = (
        '# /// script\n# requires-python = ">=3.9"\n# dependencies = ["Six", "attrs"]\n# ///\n'
    )
    held = {**GOOD, "handler.py": metadata + GOOD["handler.py"]}
    found = archive.check(
        zipped({**held, "requirements.txt": "six\npyaes>=1 # small\n"})
    ).dependencies()
    assert found.requirements == ("attrs", "pyaes>=1", "six")
    assert found.requires_python == ">=3.9"
    assert archive.check(zipped(held)).dependencies().requirements == ("attrs", "six")
    assert not archive.check(zipped(GOOD)).dependencies()


@pytest.mark.parametrize(
    "text", [b"six\n-e .\n", b"six\n===\n", b"six\n\xff\n", b"six\na; " + b"(" * 50_000]
)
def test_a_wrong_requirements_txt_is_reported_with_its_line(text: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        archive.check(zipped({**GOOD, "requirements.txt": text})).dependencies()
    assert (caught.value.code, caught.value.details) == ("bad_requirements", {"line": 2})


def test_wrong_metadata_is_reported_with_its_file_and_line() -> None:
    held = {**GOOD, "handler.py": "# /// script\n# dependencies = [\n# ///\n" + GOOD["handler.py"]}
    with pytest.raises(BadRequest) as caught:
        archive.check(zipped(held)).dependencies()
    assert caught.value.code == "bad_metadata"
    assert caught.value.details["file"] == "handler.py"


def test_packing_the_same_files_makes_the_same_archive() -> None:
    held: list[tuple[str, bytes]] = [("b.py", b"B"), ("a/c.py", b"C")]
    assert archive.pack(held) == archive.pack(reversed(held))
    with zipfile.ZipFile(BytesIO(archive.pack(held))) as made:
        assert [(one.filename, one.date_time[0]) for one in made.infolist()] == [
            ("a/c.py", 1980),
            ("b.py", 1980),
        ]


@pytest.mark.parametrize("path", ["/a.py", "../a.py", "a\\b.py", "a\0.py", "\udc80.py", ""])
def test_a_path_that_is_not_relative_is_not_packed(path: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        archive.pack([(path, b"")])
    assert caught.value.code == "bad_archive"
