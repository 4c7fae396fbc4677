"""A function sent as a form."""

import io
import zipfile

import pytest
import requests
from local_service import SAMPLE

from fob.dispatcher.api import forms
from fob.errors import BadRequest
from zips import zipped

Parts = list[tuple[str, tuple[str | None, bytes]]]


def form(*files: tuple[str | None, bytes]) -> tuple[str, bytes]:
    """Content type and body of a form with these files."""
    parts: Parts = [("f", file) for file in files]
    made = requests.Request("POST", "http://localhost", files=parts).prepare()
    assert isinstance(made.body, bytes)
    return made.headers["Content-Type"], made.body


def made_of(*files: tuple[str | None, bytes]) -> bytes:
    return forms.source_of(*form(*files))


def refused(content_type: str, body: bytes) -> tuple[str, str]:
    with pytest.raises(BadRequest) as caught:
        forms.source_of(content_type, body)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("kind", ["", "text/x-python", "application/json", "application/zip"])
def test_a_body_that_is_not_a_form_is_used_as_it_is(kind: str) -> None:
    assert forms.source_of(kind, zipped({"a.py": SAMPLE})) == zipped({"a.py": SAMPLE})


def test_a_body_labelled_as_a_zip_must_be_one() -> None:
    assert refused("application/zip", SAMPLE)[0] == "bad_archive"


def test_files_of_a_form_become_an_archive_whatever_their_order() -> None:
    files = [("main.py", b"M\r\n"), ("pkg/caf\xe9.bin", bytes(range(256))), ("x", b"")]
    body = made_of(*files)
    assert body == made_of(*reversed(files))
    with zipfile.ZipFile(io.BytesIO(body)) as made:
        assert {name: made.read(name) for name in made.namelist()} == dict(files)


def test_a_form_of_one_zip_is_that_zip() -> None:
    body = zipped({"a.py": SAMPLE})
    assert made_of(("any.zip", body)) == body


def test_a_form_of_one_file_is_that_file() -> None:
    assert made_of(("sample.py", SAMPLE)) == SAMPLE
    assert zipfile.is_zipfile(io.BytesIO(made_of(("pkg/sample.py", SAMPLE))))


def test_many_files_are_accepted() -> None:
    body = made_of(*((f"{number}.py", b"") for number in range(1000)))
    assert len(zipfile.ZipFile(io.BytesIO(body)).namelist()) == 1000


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ([("../x.py", b""), ("y.py", b"")], "bad_archive"),
        ([("/x.py", b""), ("y.py", b"")], "bad_archive"),
        ([("x.py", b""), (None, b"value")], "bad_form"),
        ([(f"{number}.py", b"") for number in range(1002)], "bad_form"),
    ],
)
def test_a_form_with_fields_that_are_not_files_is_refused(
    files: list[tuple[str | None, bytes]], code: str
) -> None:
    assert refused(*form(*files))[0] == code


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=x", b""),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("multipart/form-data; boundary=x", SAMPLE),
        ("multipart/form-data; boundary=x", b"--x\r\n\r\nno name\r\n--x--"),
    ],
)
def test_a_broken_or_empty_form_is_refused(content_type: str, body: bytes) -> None:
    assert refused(content_type, body)[0] == "bad_form"


def test_what_an_archive_requires_is_in_its_app(service):
    body = zipped({"main.py": SAMPLE, "requirements.txt": "Six\n"})
    id_ = service.ask("POST", "/api/gen", data=body).json()["id"]
    assert service.app(id_)["env"]["FOB_REQUIREMENTS"] == "six"
