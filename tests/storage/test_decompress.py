"""Unpacking: every format, cut anywhere, and what happens to bytes that are not what was declared."""

import bz2
import gzip
import io
import lzma
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import OperatorError
from scsipub.storage.decompress import COMPRESSIONS, PIECE, unpacked_untrusted

PACK: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gz": lambda data: gzip.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "bz2": lambda data: bz2.compress(data, 1),
    "zst": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
}
CONTENT = bytes(range(256)) * 700 + b"the end"
packed = pytest.mark.parametrize("compression", [name for name in COMPRESSIONS if name != "none"])


def unpack(data: bytes, compression: str) -> bytes:
    return b"".join(unpacked_untrusted(io.BytesIO(data).read, compression))


def test_there_is_a_packer_in_this_test_for_every_unpacker() -> None:
    assert set(PACK) == set(COMPRESSIONS)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_was_packed_comes_out(compression: str) -> None:
    assert unpack(PACK[compression](CONTENT), compression) == CONTENT


@packed
def test_streams_one_after_another_are_one(compression: str) -> None:
    """As ``cat a.gz b.gz`` has it, and with padding behind."""
    pack = PACK[compression]

    assert unpack(pack(CONTENT) + pack(b"more") + bytes(512), compression) == CONTENT + b"more"


@packed
def test_an_end_that_comes_too_early_is_refused(compression: str) -> None:
    """Every byte counts: also the last one missing, and nothing at all."""
    data = PACK[compression](CONTENT)
    for size in (0, 1, len(data) // 2, len(data) - 1):
        with pytest.raises(OperatorError):
            unpack(data[:size], compression)


@packed
@settings(max_examples=30)
@given(noise=st.binary(min_size=1, max_size=200))
def test_noise_is_refused_and_nothing_else(compression: str, noise: bytes) -> None:
    with pytest.raises(OperatorError):
        unpack(noise, compression)


@packed
def test_garbage_behind_a_stream_is_refused(compression: str) -> None:
    with pytest.raises(OperatorError):
        unpack(PACK[compression](CONTENT) + b"garbage, certainly garbage", compression)


@packed
def test_a_bomb_comes_out_in_bounded_pieces(compression: str) -> None:
    """Whoever takes the pieces can stop at a limit: none is larger than a megabyte."""
    pieces = unpacked_untrusted(io.BytesIO(PACK[compression](bytes(40 << 20))).read, compression)

    assert max(len(piece) for piece, _ in zip(pieces, range(20), strict=False)) <= PIECE


def test_a_source_that_gives_single_bytes_is_no_matter() -> None:
    """A pipe gives what it has."""
    data = io.BytesIO(gzip.compress(b"slowly"))

    assert b"".join(unpacked_untrusted(lambda size: data.read(1), "gz")) == b"slowly"


def test_an_error_of_the_source_is_not_taken_for_bad_data() -> None:
    def read(size: int) -> bytes:
        raise ConnectionResetError(104, "gone")

    with pytest.raises(ConnectionResetError):
        list(unpacked_untrusted(read, "bz2"))
