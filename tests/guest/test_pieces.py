"""What a guest is made of, without a network: names of packages, files in them, keys of the cache."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.guest.pieces import Package, followed, key_of, members, merged


def test_a_dependency_is_followed_into_libraries_only():
    depends = "libc6 (>= 2.34), init-system-helpers (>= 1.54~), libssl3 | libssl1.1, python3:any"

    assert list(followed("open-iscsi", depends)) == ["libc6", "libssl3"]


def test_the_meta_package_of_the_kernel_leads_to_the_kernel():
    assert list(followed("linux-image-amd64", "linux-image-6.1.0-1-amd64 (= 6.1)")) == [
        "linux-image-6.1.0-1-amd64"
    ]


def test_another_package_may_not_bring_a_kernel_along():
    assert list(followed("fio", "linux-image-6.1.0-1-amd64")) == []


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("./lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("./usr/lib/x", "usr/lib/x"),
        ("./sbin/iscsid", "usr/sbin/iscsid"),
        ("./etc/iscsi/iscsid.conf", "etc/iscsi/iscsid.conf"),
        ("./library", "library"),
    ],
)
def test_the_places_that_debian_merged_are_one(name: str, place: str):
    assert merged(name) == place


def test_a_file_is_found_under_the_name_that_apt_gives_it():
    assert Package("busybox-static", "1:1.35.0-4").file_name == "busybox-static_1%3a1.35.0-4_"


def test_another_version_or_another_source_is_another_key(tmp_path: Path):
    source = tmp_path / "init.sh"
    source.write_text("one")
    key = key_of([Package("a", "1"), Package("b", "1")], source)

    assert key == key_of([Package("b", "1"), Package("a", "1")], source)
    assert key != key_of([Package("a", "1"), Package("b", "2")], source)
    source.write_text("two")
    assert key != key_of([Package("a", "1"), Package("b", "1")], source)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not here")
def test_files_and_links_of_a_package_are_read_without_installing_it(tmp_path: Path):
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n"
    )
    (tree / "sbin").mkdir()
    (tree / "sbin" / "program").write_bytes(b"bytes")
    (tree / "sbin" / "other").symlink_to("program")
    subprocess.run(["dpkg-deb", "--build", tree, tmp_path / "p.deb"], check=True, capture_output=True)

    found = {member.name: content or member.linkname for member, content in members(tmp_path / "p.deb")}

    assert found == {"usr/sbin/program": b"bytes", "usr/sbin/other": "program"}
