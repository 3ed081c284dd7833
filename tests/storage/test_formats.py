"""Formats: declared by a person or a name, looked at once where both are silent."""

import pytest

from scsipub.errors import OperatorError
from scsipub.storage.formats import Declared, check_format, declared_by, detected


@pytest.mark.parametrize(
    ("file", "declared"),
    [
        ("debian.iso", Declared("debian", "iso", "none")),
        ("/tmp/Debian_12.ISO.xz", Declared("debian-12", "iso", "xz")),
        ("disk.raw.zstd", Declared("disk", "raw", "zst")),
        ("cloud.qcow2", Declared("cloud", "qcow2", "none")),
        ("cloud.QCOW2.gz", Declared("cloud", "qcow2", "gz")),
        ("appliance.vmdk", Declared("appliance", "vmdk", "none")),
        ("disk.img.gz", Declared("disk", None, "gz")),
        ("disk.zst", Declared("disk", None, "zst")),
        ("alpine-3.20.1", Declared("alpine-3.20.1", None, "none")),
        ("a" * 80 + ".img", Declared("a" * 63, None, "none")),
        ("...", Declared("", None, "none")),
    ],
)
def test_a_file_name_declares_format_and_packing_or_neither(file, declared):
    assert declared_by(file) == declared


@pytest.mark.parametrize(
    "file", ["a.vdi", "a.ova.gz", "a.zip", "a.tgz", "a.tar.xz", "a.qcow", "a.vhdx", "a.vhd"]
)
def test_a_file_name_of_a_format_we_do_not_read_is_refused(file):
    """Served as raw bytes it would be garbage to every client."""
    with pytest.raises(OperatorError, match="are not taken"):
        declared_by(file)


@pytest.mark.parametrize(
    ("head", "format_"),
    [
        (b"QFI\xfb" + bytes(8), "qcow2"),
        (b"KDMV", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"conectix", "vhd"),
        (bytes(64) + b"\x7f\x10\xda\xbe", "vdi"),
        (b"QFI", "raw"),
        (b"", "raw"),
        (bytes(512), "raw"),
        (b"\x1f\x8b\x08", "raw"),
        (bytes(1) + b"QFI\xfb", "raw"),
    ],
)
def test_the_first_bytes_are_looked_at_and_no_others(head, format_):
    assert detected(head) == format_


def test_a_format_is_one_of_those_we_have():
    check_format(None, "none")
    check_format("vmdk", "zst")
    for format_, compression in (
        ("vdi", "none"),
        ("vhdx", "none"),
        ("", "none"),
        ("raw", "zip"),
        ("raw", ""),
    ):
        with pytest.raises(OperatorError, match="is not"):
            check_format(format_, compression)
