"""Heads of responses, as byte templates."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    Response = tuple[int, bytes, bytes]  # status, header lines, body

REASONS = """200 OK; 201 Created; 204 No Content; 301 Moved Permanently; 302 Found; 303 See Other;
304 Not Modified; 307 Temporary Redirect; 400 Bad Request; 401 Unauthorized; 403 Forbidden;
404 Not Found; 405 Method Not Allowed; 409 Conflict; 413 Content Too Large; 417 Expectation Failed;
422 Unprocessable Content; 429 Too Many Requests; 431 Request Header Fields Too Large;
500 Internal Server Error; 501 Not Implemented; 502 Bad Gateway; 503 Service Unavailable;
504 Gateway Timeout; 505 HTTP Version Not Supported"""
REASON = {int(r.split()[0]): r.split(None, 1)[1].encode() for r in REASONS.split(";")}
JSON_TYPE = b"Content-Type: application/json\r\n"
HEAD = b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n%b\r\n"
USUAL = b"HTTP/1.1 200 OK\r\n" + JSON_TYPE + b"Content-Length: %d\r\n\r\n%b"
BODILESS_HEAD = b"HTTP/1.1 %d %b\r\n%b%b\r\n"
BODILESS = (204, 304)
