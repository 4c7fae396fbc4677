"""A function as it is sent: a file, a zip, or a form of which each part is a file."""

from tornado.httputil import (
    HTTPFile,
    HTTPInputError,
    ParseBodyConfig,
    ParseMultipartConfig,
    parse_body_arguments,
)

from fob.errors import BadRequest
from fob.parts.unzip import FILES_LIMIT, UNPACKED_LIMIT
from fob.source import archive

KIND = "multipart/form-data"
# all files unpacked, and what a form puts around them
BODY_BYTES = UNPACKED_LIMIT + FILES_LIMIT * 512

_ZIP = ("application/zip", "application/x-zip-compressed")
_CONFIG = ParseBodyConfig(multipart=ParseMultipartConfig(max_parts=FILES_LIMIT + 1))


def source_of(content_type: str, body: bytes) -> bytes:
    """The Python file or archive in a body: of a form the only file, else an archive of them all.

    A form takes its time: call it off the loop. Raises `BadRequest` with the code `bad_form`, or
    `bad_archive`, for a file's name too.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in _ZIP and not archive.is_archive(body):
        raise BadRequest(f"The body is not a zip archive, and {kind} says so", code="bad_archive")
    if kind != KIND:
        return body
    files = _files(content_type, body)
    only = files[0] if len(files) == 1 else None
    if only and (archive.is_archive(only.body) or "/" not in only.filename):
        return only.body
    return archive.pack((file.filename, file.body) for file in files)


def _files(content_type: str, body: bytes) -> list[HTTPFile]:
    fields: dict[str, list[bytes]] = {}
    named: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(content_type, body, fields, named, config=_CONFIG)
    except HTTPInputError as error:
        raise BadRequest(f"The form cannot be read: {error}", code="bad_form") from error
    if fields:
        raise BadRequest(
            f"The form's field {', '.join(fields)!r:.100} has no file name: each part is a file,"
            " and options go into the query",
            code="bad_form",
        )
    if not named:
        raise BadRequest("The form has no files", code="bad_form")
    return [file for files in named.values() for file in files]
