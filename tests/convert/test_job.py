"""A job: checks the source, unpacks it, settles its format, converts."""

import bz2
import gzip
import hashlib
import lzma

import pytest
import zstandard

from scsipub.errors import OperatorError
from tests.support.qcow2 import Qcow2

PACKERS = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
    "zst": zstandard.ZstdCompressor().compress,
    "none": bytes,
}
FILE = bytes(Qcow2({1: b"data" * 1024}).bytes())
INSIDE = bytes(4096) + b"data" * 1024 + bytes(62 * 4096)


@pytest.mark.parametrize("compression", PACKERS)
def test_a_packed_image_is_unpacked_first(convert, compression):
    packed = PACKERS[compression](FILE)

    for declared in ("qcow2", None):
        done, image = convert(packed, declared, compression)
        assert image == INSIDE
        assert (done.format, done.sha256) == ("qcow2", hashlib.sha256(INSIDE).hexdigest())
    for declared in ("raw", "iso"):
        done, image = convert(packed, declared, compression)
        assert image == FILE
        assert done.format == declared


def test_what_nobody_declared_and_looks_like_nothing_is_raw(convert):
    assert convert(b"x" * 700, None)[1] == b"x" * 700 + bytes(324)


def test_a_format_that_is_recognised_but_not_read_is_refused(convert):
    with pytest.raises(OperatorError, match="'vdi' is not taken"):
        convert(bytes(64) + b"\x7f\x10\xda\xbe" + bytes(444), None)


def test_a_source_that_hashes_to_something_else_is_refused_before_anything_is_read_of_it(convert):
    right = hashlib.sha256(FILE).hexdigest()

    assert convert(FILE, sha256=right)[1] == INSIDE
    with pytest.raises(OperatorError, match=f"hashes to {right}"):
        convert(FILE, sha256="0" * 64)
    with pytest.raises(OperatorError, match="hashes to"):
        convert(b"no qcow2", sha256="0" * 64)


@pytest.mark.parametrize("compression", ["gz", "xz", "bz2", "zst"])
@pytest.mark.parametrize("format_", ["raw", "qcow2", None])
def test_a_packed_bomb_is_stopped_at_the_limit(convert, compression, format_):
    """64 MiB of zeros in a few kilobytes, where 1 MiB is allowed."""
    bomb = PACKERS[compression](FILE[:4096] + bytes(64 << 20))

    with pytest.raises(OperatorError, match="larger than the 1048576 bytes"):
        convert(bomb, format_, compression, max_bytes=1 << 20)


@pytest.mark.parametrize("format_", ["raw", "qcow2", None])
def test_nothing_is_no_image(convert, format_):
    with pytest.raises(OperatorError, match=r"empty|not a qcow2"):
        convert(b"", format_)
