"""Timestamps that clients send: the versions of apps and groups."""

import re
from datetime import UTC, datetime
from typing import Any

from fob.engine.errors import invalid_timestamp

# ISO 8601 has more forms; Marathon reads only this one, with seconds and their fraction optional
_DATE, _TIME, _OFFSET = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d(:\d\d(\.\d{1,9})?)?", r"(Z|[+-]\d\d:\d\d)"
_FORM = re.compile(f"{_DATE}T{_TIME}{_OFFSET}", re.ASCII)


def in_utc(given: Any) -> str:
    """Return the timestamp as versions are written: in UTC, with milliseconds.

    Raises `ApiError` 422 if it is not a timestamp.
    """
    text = str(given)
    if not _FORM.fullmatch(text):
        raise invalid_timestamp(text)
    try:
        instant = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:  # such as February 30
        raise invalid_timestamp(text) from error
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
