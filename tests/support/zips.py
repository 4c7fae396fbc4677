"""Archives for the tests: as zip writers make them, and with any field of an entry wrong."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass


def zipped(files: Mapping[str, str | bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as target:
        for path, content in files.items():
            target.writestr(path, content)
    return made.getvalue()


@dataclass
class Raw:
    """An entry byte by byte; what is None is as it should be."""

    name: bytes
    content: bytes = b""
    method: int = 0
    flags: int = 0
    mode: int = 0o100644
    crc: int | None = None
    size: int | None = None
    local_name: bytes | None = None
    at: int | None = None

    def data(self) -> bytes:
        if self.method != 8:
            return self.content
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(self.content) + packer.flush()

    def _fields(self) -> tuple[int, ...]:
        crc = zlib.crc32(self.content) if self.crc is None else self.crc
        size = len(self.content) if self.size is None else self.size
        return (20, self.flags, self.method, 0, 33, crc, len(self.data()), size)

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        head = struct.pack("<4s5H3L2H", b"PK\3\4", *self._fields(), len(name), 0)
        return head + name + self.data()

    def listed(self, at: int) -> bytes:
        at = at if self.at is None else self.at
        places = (len(self.name), 0, 0, 0, 0, self.mode << 16, at)
        return struct.pack("<4s6H3L5H2L", b"PK\1\2", 0x314, *self._fields(), *places) + self.name


def raw(*entries: Raw, count: int | None = None, comment: bytes = b"") -> bytes:
    """The archive of these entries."""
    body, listed = b"", b""
    for entry in entries:
        listed += entry.listed(len(body))
        body += entry.local()
    count = len(entries) if count is None else count
    end = (b"PK\5\6", 0, 0, count, count, len(listed), len(body), len(comment))
    return body + listed + struct.pack("<4s4H2LH", *end) + comment
