"""Errors as answers, byte for byte."""

import http.client
import json
from collections.abc import Mapping

from fob.errors import FobError


def refusal(error: FobError, headers: Mapping[str, str], is_head: bool = False) -> bytes:
    """The whole answer that tells of `error`, with `headers` besides its own."""
    content = json.dumps(error.body()).encode()
    given = {
        **error.headers,
        "Content-Type": "application/json; charset=UTF-8",
        "Content-Length": str(len(content)),
        **headers,
    }
    lines = [f"HTTP/1.1 {error.status} {http.client.responses[error.status]}"]
    lines += [f"{name}: {value}" for name, value in given.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if is_head else content)
