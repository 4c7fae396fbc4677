"""The packed runner: how the value of every function's FOB_FUNCTION begins.

`make runner` links and packs it into a file of the package. A dispatcher reads that file: to link
and pack took 0.28 s of CPU at every start. The file is compressed because zlib's output depends on
its version; so all dispatchers of one release write the same characters into their apps.
"""

import base64
import functools
import zlib
from pathlib import Path

from fob.runner.linker import linking

PACKED = Path(linking.RUNNER) / "runner.packed"
# of deflate, stored, with no bytes in it: RFC 1951, 3.2.4
_EMPTY_BLOCK = bytes.fromhex("000000ffff")


@functools.cache
def packed_runner() -> tuple[str, int]:
    """Return the characters, and the Adler-32 checksum of what they unpack to."""
    text = PACKED.read_text("ascii").rstrip()
    return text, zlib.adler32(unpack(text))


def pack(program: bytes) -> str:
    """Pack a program and the NUL byte after it, as the beginning of a zlib stream in base64.

    It ends where a group of base64 does, so whatever follows leaves these characters as they are.
    """
    compressor = zlib.compressobj(level=9)
    packed = compressor.compress(program + b"\0") + compressor.flush(zlib.Z_SYNC_FLUSH)
    packed += _EMPTY_BLOCK * (len(packed) % 3)  # of 5 bytes each
    return base64.b64encode(packed).decode()


def unpack(text: str) -> bytes:
    """Return a packed program and the NUL byte after it."""
    return zlib.decompressobj().decompress(base64.b64decode(text))


if __name__ == "__main__":
    program = linking.link()
    if not PACKED.exists() or unpack(PACKED.read_text("ascii")) != program + b"\0":
        PACKED.write_text(pack(program) + "\n", "ascii")
        print(f"wrote {PACKED}")
