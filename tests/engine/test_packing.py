"""Values that share a prefix, unpacked."""

import base64
import random
import zlib

import pytest

from fob.engine.runtime import packing
from fob.engine.runtime.packing import Unpacker


def packed(program: bytes, given: bytes) -> str:
    return base64.b64encode(zlib.compress(program + b"\0" + given)).decode()


def packed_alike(program: bytes, given: bytes) -> str:
    """As functions are packed: the program ends where a group of base64 does."""
    compressor = zlib.compressobj()
    begun = compressor.compress(program + b"\0") + compressor.flush(zlib.Z_SYNC_FLUSH)
    begun += b"\0\0\0\xff\xff" * (len(begun) % 3)
    rest = compressor.compress(given) + compressor.flush()
    return base64.b64encode(begun).decode() + base64.b64encode(rest).decode()


@pytest.fixture
def programs() -> list[bytes]:
    return [random.Random(n).randbytes(2000).replace(b"\0", b"") for n in range(3)]


@pytest.mark.parametrize("pack", [packed, packed_alike])
def test_program_and_snippet_are_those_that_were_packed(
    programs: list[bytes], pack: object
) -> None:
    assert callable(pack)
    unpacker = Unpacker()
    chance = random.Random(1)
    for number in range(60):
        program = chance.choice(programs)
        given = chance.choice([b"", b"same", b"with\0nul", b"%d" % number, chance.randbytes(99)])
        assert unpacker.unpack(pack(program, given)) == (program, given)


def test_a_shared_prefix_is_unpacked_once(
    programs: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacker = Unpacker()
    for given in (b"1", b"2"):
        unpacker.unpack(packed_alike(programs[0], given))
    monkeypatch.setattr(packing, "MAX_UNPACKED_BYTES", 100)  # too few for the program
    assert unpacker.unpack(packed_alike(programs[0], b"3")) == (programs[0], b"3")


@pytest.mark.parametrize("given", [b"12", b"3"])
def test_an_incomplete_value_is_refused(programs: list[bytes], given: bytes) -> None:
    unpacker = Unpacker()
    for known in (b"1", b"2"):
        unpacker.unpack(packed_alike(programs[0], known))
    value = packed_alike(programs[0], given)
    for bad in (value[:-4], value[:-8], packed(b"no end", b"")[:8], "A", "é"):
        with pytest.raises((ValueError, zlib.error)):
            unpacker.unpack(bad)
