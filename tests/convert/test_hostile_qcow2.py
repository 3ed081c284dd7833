"""qcow2 files that somebody made to hurt: each is refused, in words that say why, and costs next to nothing.

The clauses are those of docs/interop/qcow2.txt; the classes have a history: CVE-2015-5163 (backing file),
CVE-2024-32498 (external data), CVE-2024-4467 (``json:`` names)."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scsipub.errors import OperatorError
from tests.support.qcow2 import COMPRESSED, COPIED, DATA, L1, L2, REFCOUNTS, Qcow2, extension

CLUSTER = 4096
TWO = {0: b"first" * 800, 9: b"second" * 600}
GOOD = Qcow2(TWO).bytes()


def with_name(name: bytes, **header: int) -> bytearray:
    """A file that names another one."""
    file = Qcow2(TWO, header={"backing_offset": 512, "backing_size": len(name), **header}).bytes()
    file[512 : 512 + len(name)] = name
    return file


def at(offset: int, value: int, form: str = ">Q", file: bytes | None = None) -> bytearray:
    changed = bytearray(GOOD if file is None else file)
    struct.pack_into(form, changed, offset, value)
    return changed


def l2(entry: int, number: int = 20, **more: object) -> bytearray:
    return Qcow2(TWO, l2={number: entry}, **more).bytes()


def compressed(offset: int, sectors: int = 0) -> int:
    return COMPRESSED | sectors << 62 - (12 - 8) | offset


def bomb() -> bytearray:
    """Sixty guest clusters in one small stream."""
    file = Qcow2({0: bytes([1]) * CLUSTER}, packed=True)
    entry = struct.unpack_from(">Q", file.bytes(), L2 * CLUSTER)[0]
    return Qcow2(
        {0: bytes([1]) * CLUSTER},
        size=512 * CLUSTER,
        packed=True,
        l2=dict.fromkeys(range(1, 512), entry),
    ).bytes()


def overlapping() -> bytearray:
    """Sixty streams of seven sectors, one byte after the other."""
    streams = {n: compressed(DATA * CLUSTER + n, 7) for n in range(60)}
    return Qcow2({}, l2=streams, more=bytes(2 * CLUSTER)).bytes()


# name -> (the file, words of the refusal)
HOSTILE = {
    "a backing file of the host": (with_name(b"/etc/passwd"), "stands on another file .'/etc/passwd'"),
    "a backing file by a json name": (
        with_name(b'json:{"driver":"file","filename":"/etc/shadow"}'),
        "stands on another file",
    ),
    "a backing file on the network": (with_name(b"nbd://198.51.100.1:10809/x"), "stands on another file"),
    "a backing file with escape codes in its name": (with_name(b"\x1b[2J\n"), r"\\x1b\[2J\\n"),
    "a backing file whose name is outside": (
        with_name(b"x", backing_offset=1 << 40),
        "stands on another file, which",
    ),
    "a backing file whose name is endless": (
        with_name(b"x", backing_size=0xFFFFFFFF),
        "stands on another file, which",
    ),
    "a backing format without a backing file": (
        Qcow2(TWO, extensions=extension(0xE2792ACA, b"raw")).bytes(),
        "stands on another file",
    ),
    "an external data file": (Qcow2(TWO, header={"incompatible": 4}).bytes(), "data is in another file"),
    "the name of an external data file": (
        Qcow2(TWO, extensions=extension(0x44415441, b"/etc/shadow")).bytes(),
        "data is in another file",
    ),
    "a raw external data file": (Qcow2(TWO, header={"autoclear": 2}).bytes(), "data is in another file"),
    "AES": (Qcow2(TWO, header={"crypt": 1}).bytes(), "encrypted"),
    "LUKS": (Qcow2(TWO, header={"crypt": 2}).bytes(), "encrypted"),
    "a header of LUKS": (
        Qcow2(TWO, extensions=extension(0x0537BE77, bytes(16))).bytes(),
        "encrypted",
    ),
    "version 1": (Qcow2(TWO, header={"version": 1}).bytes(), "Version 1"),
    "version 4": (Qcow2(TWO, header={"version": 4}).bytes(), "Version 4"),
    "another magic": (Qcow2(TWO, header={"magic": b"QFI\xfa"}).bytes(), "not a qcow2 file"),
    "snapshots": (Qcow2(TWO, header={"snapshots": 1}).bytes(), "1 snapshots inside"),
    "very many snapshots": (Qcow2(TWO, header={"snapshots": 0xFFFFFFFF}).bytes(), "snapshots inside"),
    "the dirty bit": (Qcow2(TWO, header={"incompatible": 1}).bytes(), "not closed properly"),
    "the corrupt bit": (Qcow2(TWO, header={"incompatible": 2}).bytes(), "marked as corrupt"),
    "an unknown feature": (Qcow2(TWO, header={"incompatible": 1 << 5}).bytes(), r"not known here .0x20"),
    "the last unknown feature": (Qcow2(TWO, header={"incompatible": 1 << 63}).bytes(), "not known here"),
    "subclusters smaller than a sector": (Qcow2(TWO, header={"incompatible": 16}).bytes(), "subclusters"),
    "clusters of 256 bytes": (Qcow2(TWO, header={"cluster_bits": 8}).bytes(), r"2\^8 bytes"),
    "clusters of 4 MiB": (Qcow2(TWO, header={"cluster_bits": 22}).bytes(), r"2\^22 bytes"),
    "clusters of 2^4294967295 bytes": (Qcow2(TWO, header={"cluster_bits": 0xFFFFFFFF}).bytes(), "not taken"),
    "compression of an unknown type": (
        Qcow2(TWO, header={"compression": 2, "incompatible": 8}).bytes(),
        "Compression of type 2",
    ),
    "zstd without saying so": (Qcow2(TWO, header={"compression": 1}).bytes(), "Compression of type 1"),
    "the bit of a compression type without one": (
        Qcow2(TWO, header={"incompatible": 8}).bytes(),
        "Compression of type 0",
    ),
    "a header of no length": (Qcow2(TWO, header={"header_length": 0}).bytes(), "header of 0 bytes"),
    "a header longer than its cluster": (
        Qcow2(TWO, header={"header_length": CLUSTER + 8}).bytes(),
        "header of 4104 bytes",
    ),
    "a header extension longer than the header": (
        Qcow2(TWO, extensions=extension(1, b"", CLUSTER)).bytes(),
        "header extension is longer",
    ),
    "a header extension of 4 GiB": (
        Qcow2(TWO, extensions=extension(1, b"", 0xFFFFFFFF)).bytes(),
        "header extension is longer",
    ),
    "8 EiB in a kilobyte": (Qcow2(TWO, header={"size": 1 << 63}).bytes()[:1024], "larger than the"),
    "one sector more than is allowed": (Qcow2(TWO, header={"size": (16 << 20) + 512}).bytes(), "larger than"),
    "no size": (Qcow2(TWO, header={"size": 0}).bytes(), "image of 0 bytes"),
    "half a sector": (Qcow2(TWO, header={"size": 256}).bytes(), "image of 256 bytes"),
    "a first table of no entries": (Qcow2(TWO, header={"l1_size": 0}).bytes(), "0 entries does not fit"),
    "a first table of 32 GiB": (
        Qcow2(TWO, header={"l1_size": 0xFFFFFFFF}).bytes(),
        "4294967295 entries does not fit",
    ),
    "a first table larger than the file": (Qcow2(TWO, header={"l1_size": 8192}).bytes(), "lies outside"),
    "a first table behind the file": (Qcow2(TWO, header={"l1_offset": 1 << 40}).bytes(), "lies outside"),
    "a first table at the end of all numbers": (
        Qcow2(TWO, header={"l1_offset": (1 << 64) - CLUSTER}).bytes(),
        "lies outside",
    ),
    "a first table over the header": (Qcow2(TWO, header={"l1_offset": 0}).bytes(), "cannot be at 0"),
    "a first table within a cluster": (
        Qcow2(TWO, header={"l1_offset": L1 * CLUSTER + 8}).bytes(),
        "cannot be at",
    ),
    "a first table over the reference counts": (
        Qcow2(TWO, header={"l1_offset": REFCOUNTS * CLUSTER}).bytes(),
        "lies where something else is",
    ),
    "a first table that points at itself": (
        at(L1 * CLUSTER, COPIED | L1 * CLUSTER),
        "second table lies where something else is",
    ),
    "a first table that points at the header": (at(L1 * CLUSTER, COPIED), "lies where something else is"),
    "a first table that points outside": (
        at(L1 * CLUSTER, COPIED | 1 << 40),
        "second table lies outside the file",
    ),
    "a first table that points within a cluster": (
        at(L1 * CLUSTER, COPIED | L2 * CLUSTER + 512),
        "second table begins within a cluster",
    ),
    "a first table with reserved bits": (at(L1 * CLUSTER, L2 * CLUSTER | 1), "makes no sense"),
    "one second table used twice": (
        Qcow2(TWO, size=1024 * CLUSTER, l1={1: COPIED | L2 * CLUSTER}, header={"l1_size": 2}).bytes(),
        "second table lies where something else is",
    ),
    "the state of a machine behind the image": (
        Qcow2(TWO, l1={1: COPIED | DATA * CLUSTER}, header={"l1_size": 2}).bytes(),
        "goes on behind the image",
    ),
    "a second table that points at itself": (l2(COPIED | L2 * CLUSTER), "data lies where something else is"),
    "a second table that points at the first": (
        l2(COPIED | L1 * CLUSTER),
        "data lies where something else is",
    ),
    "a second table that points outside": (l2(COPIED | 1 << 50), "cluster of data lies outside"),
    "a second table that points within a cluster": (
        l2(COPIED | DATA * CLUSTER + 512),
        "begins within a cluster",
    ),
    "a second table with reserved bits": (l2(COPIED | DATA * CLUSTER | 2), "makes no sense"),
    "one cluster of data used twice": (l2(COPIED | DATA * CLUSTER), "data lies where something else is"),
    "one cluster of data used by the whole image": (
        Qcow2(TWO, size=512 * CLUSTER, l2=dict.fromkeys(range(512), COPIED | DATA * CLUSTER)).bytes(),
        "data lies where something else is",
    ),
    "a compressed cluster outside": (l2(compressed(1 << 40)), "compressed cluster lies outside"),
    "a compressed cluster that ends outside": (
        l2(compressed(DATA * CLUSTER, 15), more=bytes(512)),
        "compressed cluster lies (where|outside)",
    ),
    "a compressed cluster over the header": (l2(compressed(0)), "compressed cluster lies where something"),
    "a compressed cluster over data": (
        l2(compressed(DATA * CLUSTER + 100)),
        "compressed cluster lies where something",
    ),
    "data over a compressed cluster": (
        Qcow2(TWO, packed=True, more=bytes(CLUSTER), l2={20: COPIED | DATA * CLUSTER}).bytes(),
        "data lies where something else is",
    ),
    "a compressed cluster of noise": (
        l2(compressed((DATA + 2) * CLUSTER), more=b"\xff" * 512),
        "compressed cluster is not good",
    ),
    "a compressed cluster that ends early": (
        l2(compressed((DATA + 2) * CLUSTER), more=b"\x03\x00" + bytes(510)),
        "does not unpack to one cluster",
    ),
    "a compressed cluster used by the whole image": (bomb(), "is used twice"),
    "compressed clusters that overlap": (
        overlapping(),
        "some are used twice",
    ),
    "reference counts of 2^7 bits": (
        Qcow2(TWO, header={"refcount_order": 7}).bytes(),
        "Reference counts of 2.7 bits",
    ),
    "reference counts of 2^4294967295 bits": (
        Qcow2(TWO, header={"refcount_order": 0xFFFFFFFF}).bytes(),
        "Reference counts",
    ),
    "no reference counts": (Qcow2(TWO, header={"refcount_clusters": 0}).bytes(), "lies outside"),
    "reference counts larger than the file": (
        Qcow2(TWO, header={"refcount_clusters": 0xFFFFFFFF}).bytes(),
        "lies outside",
    ),
    "reference counts over the header": (
        Qcow2(TWO, header={"refcount_offset": 0}).bytes(),
        "cannot be at 0",
    ),
    "reference counts within a cluster": (
        Qcow2(TWO, header={"refcount_offset": CLUSTER + 1}).bytes(),
        "cannot be at 4097",
    ),
    "a block of reference counts that is the table of them": (
        at(REFCOUNTS * CLUSTER, REFCOUNTS * CLUSTER),
        "block of reference counts lies where something else is",
    ),
    "a block of reference counts outside": (at(REFCOUNTS * CLUSTER, 1 << 60), "lies outside the file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_with_its_reason(name, convert):
    file, words = HOSTILE[name]

    with pytest.raises(OperatorError, match=words):
        convert(bytes(file))


def test_the_file_they_are_all_made_from_is_fine(convert):
    _, image = convert(bytes(GOOD))

    assert image == b"".join(TWO.get(n, b"").ljust(CLUSTER, b"\0") for n in range(64))
    assert convert(bytes(Qcow2(TWO, packed=True).bytes()))[1] == image


@pytest.mark.parametrize("length", [*range(121), 511, 512, CLUSTER - 1])
def test_a_file_cut_off_at_any_byte_of_its_header_is_refused(length, convert):
    with pytest.raises(OperatorError):
        convert(bytes(GOOD[:length]))


@pytest.mark.parametrize("clusters", range(1, len(GOOD) // CLUSTER))
def test_a_file_cut_off_after_any_of_its_clusters_is_refused(clusters, convert):
    for length in (clusters * CLUSTER, (clusters + 1) * CLUSTER - 1):
        with pytest.raises(OperatorError, match=r"outside|ends in the middle"):
            convert(bytes(GOOD[:length]))


def test_what_reference_counts_count_does_not_matter(convert):
    """They are for writers: an image is read the same whatever they say."""
    nonsense = bytearray(GOOD)
    nonsense[2 * CLUSTER : 3 * CLUSTER] = b"\xff" * CLUSTER

    assert convert(bytes(nonsense))[1] == convert(bytes(GOOD))[1]


def test_the_largest_image_allowed_is_taken(convert):
    file = Qcow2(TWO, size=16 << 20, header={"l1_size": 8}).bytes()

    assert convert(bytes(file))[0].bytes == 16 << 20


PACKED = Qcow2(TWO, packed=True).bytes()
INTERESTING = st.sampled_from([0, 1, 7, 0x7F, 0x80, 0xFF])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.sampled_from([bytes(GOOD), bytes(PACKED)]),
    changes=st.lists(
        st.tuples(
            st.one_of(
                st.integers(0, 120),
                st.integers(L1 * CLUSTER, L1 * CLUSTER + 15),
                st.integers(L2 * CLUSTER, L2 * CLUSTER + 90),
                st.integers(REFCOUNTS * CLUSTER, DATA * CLUSTER + 600),
            ),
            st.one_of(INTERESTING, st.integers(0, 255)),
        ),
        min_size=1,
        max_size=6,
    ),
    cut=st.one_of(st.none(), st.integers(0, len(GOOD))),
)
def test_any_few_bytes_changed_end_in_an_image_of_the_size_it_says_or_in_words(convert, seed, changes, cut):
    file = bytearray(seed)
    for offset, value in changes:
        if offset < len(file):
            file[offset] = value
    try:
        done, image = convert(bytes(file[:cut]))
    except OperatorError as error:
        assert error.what
    else:
        assert done.bytes == len(image) <= 16 << 20
