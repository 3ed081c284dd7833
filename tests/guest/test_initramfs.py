"""The archive a guest boots from: its bytes, the order of its modules, the kernel inside a kernel."""

import lzma
from pathlib import Path

import pytest

from tests.guest.initramfs import cpio, depends_of, elf_of, load_order
from tests.guest.pieces import PiecesMissing


def test_an_entry_is_a_header_a_name_and_content_each_padded_to_four_bytes():
    """buffer-format.rst: 070701, thirteen numbers of eight hexadecimal digits, the name, the bytes."""
    archive = b"".join(cpio({"file": b"12345"}, {}, ()))

    header, rest = archive[:110], archive[110:]
    assert header[:6] == b"070701"
    assert int(header[14:22], 16) == 0o100644
    assert int(header[54:62], 16) == 5
    assert int(header[94:102], 16) == len("file") + 1
    assert rest.startswith(b"file\x00\x00" + b"12345\x00\x00\x00" + b"070701")
    assert len(archive) % 4 == 0


def test_the_archive_ends_with_its_trailer():
    assert b"".join(cpio({}, {}, ())).rstrip(b"\x00").endswith(b"TRAILER!!!")


def test_folders_come_before_what_is_in_them():
    archive = b"".join(cpio({"a/b/c": b""}, {"d/e": "../a"}, ("f",)))

    order = [archive.index(name) for name in (b"a\x00", b"a/b\x00", b"a/b/c\x00", b"d/e\x00")]
    assert order == sorted(order)
    assert b"f\x00" in archive


def test_a_file_keeps_its_right_to_be_run(tmp_path: Path):
    program = tmp_path / "program"
    program.write_bytes(b"#!")
    program.chmod(0o755)

    archive = b"".join(cpio({"p": program}, {}, ()))

    assert int(archive[14:22], 16) == 0o100755


def test_the_same_files_give_the_same_bytes():
    first = b"".join(cpio({"a": b"1", "b": b"2"}, {}, ("x", "y")))

    assert first == b"".join(cpio({"b": b"2", "a": b"1"}, {}, ("y", "x")))


def test_a_module_is_loaded_after_what_it_depends_on():
    depends = {"iscsi_tcp": ["libiscsi_tcp"], "libiscsi_tcp": ["libiscsi"], "libiscsi": [], "sd_mod": []}

    assert load_order(["sd_mod", "iscsi_tcp", "libiscsi"], depends) == [
        "sd_mod",
        "libiscsi",
        "libiscsi_tcp",
        "iscsi_tcp",
    ]


def test_what_is_built_into_the_kernel_is_not_loaded():
    assert load_order(["virtio", "ext4"], {"ext4": ["crc16"]}) == ["ext4"]


@pytest.mark.parametrize(
    ("header", "names"),
    [
        (b"\x00license=GPL\x00depends=libiscsi,crc32c-intel\x00", ["libiscsi", "crc32c_intel"]),
        (b"\x00depends=\x00", []),
        (b"\x00license=GPL\x00", []),
    ],
)
def test_a_module_says_what_it_depends_on(header: bytes, names: list[str]):
    assert depends_of(b"\x7fELF" + header) == names


def test_the_kernel_is_found_behind_its_own_boot_code():
    elf = b"\x7fELF" + bytes(1000)

    assert elf_of(b"boot code \xfd7zXZ\x00 not this one" + lzma.compress(elf) + b"tail") == elf


def test_a_kernel_compressed_otherwise_says_so():
    with pytest.raises(PiecesMissing):
        elf_of(b"\x1f\x8b and so on")
