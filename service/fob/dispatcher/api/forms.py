"""The body of a registration: a Python file, a zip, or a form in which each part is a file."""

from tornado.httputil import (
    HTTPFile,
    HTTPInputError,
    ParseBodyConfig,
    ParseMultipartConfig,
    parse_body_arguments,
)

from fob.errors import BadRequest
from fob.runner.features.unzip import MAX_FILES, MAX_UNPACKED_BYTES
from fob.source import archive

FORM = "multipart/form-data"
# all files unpacked, and what a form adds around each of them
MAX_FORM_BYTES = MAX_UNPACKED_BYTES + MAX_FILES * 512

_ZIP = ("application/zip", "application/x-zip-compressed")
_CONFIG = ParseBodyConfig(multipart=ParseMultipartConfig(max_parts=MAX_FILES + 1))


def source_of(content_type: str, body: bytes) -> bytes:
    """Return the Python file or archive in a body; a form with several files becomes an archive.

    Parsing a form can take long: call this off the loop. Raises `BadRequest` with the code
    `bad_form`, or `bad_archive`, which covers the names of files too.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _ZIP and not archive.is_archive(body):
        raise BadRequest(
            f"The body is not a zip archive, but its Content-Type is {kind}", code="bad_archive"
        )
    if kind != FORM:
        return body
    files = _files(content_type, body)
    only = files[0] if len(files) == 1 else None
    if only and (archive.is_archive(only.body) or "/" not in only.filename):
        return only.body
    return archive.pack((file.filename, file.body) for file in files)


def _files(content_type: str, body: bytes) -> list[HTTPFile]:
    fields: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(content_type, body, fields, files, config=_CONFIG)
    except HTTPInputError as error:
        raise BadRequest(f"The form cannot be read: {error}", code="bad_form") from error
    if fields:
        raise BadRequest(
            f"The form's field {', '.join(fields)!r:.100} has no file name: every part must be a"
            " file, and options belong in the query",
            code="bad_form",
        )
    if not files:
        raise BadRequest("The form has no files", code="bad_form")
    return [file for parts in files.values() for file in parts]
