"""Errors as whole HTTP responses."""

import http.client
import json
from collections.abc import Mapping

from fob.errors import FobError


def error_response(
    error: FobError, headers: Mapping[str, str], to_head_request: bool = False
) -> bytes:
    """Write the response for `error`; `headers` are added to the error's own."""
    content = json.dumps(error.body()).encode()
    fields = {
        **error.headers,
        "Content-Type": "application/json; charset=UTF-8",
        "Content-Length": str(len(content)),
        **headers,
    }
    lines = [f"HTTP/1.1 {error.status} {http.client.responses[error.status]}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if to_head_request else head + content
