"""Images: taken in whole or not at all, read-only afterwards, and gone when removed."""

import gzip
import hashlib
import io
import json
import os
import pathlib

import pytest

from scsipub.errors import OperatorError
from scsipub.storage.images import ImageStore

CONTENT = b"image" * 20000 + bytes(300 * 1024) + b"tail"


@pytest.fixture
def store(tmp_path: pathlib.Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def files(store: ImageStore) -> set[str]:
    return set(os.listdir(store.directory))


def test_a_raw_image_is_kept_as_it_is(store: ImageStore) -> None:
    image = store.add(io.BytesIO(CONTENT), "one", imported="2026-01-01T00:00:00Z", origin="one.img")

    path = pathlib.Path(store.path("one"))
    padded = CONTENT + bytes(-len(CONTENT) % 512)
    assert path.read_bytes() == padded
    assert path.stat().st_mode & 0o777 == 0o444
    assert image.sha256 == hashlib.sha256(padded).hexdigest()
    assert image.bytes == len(padded)
    assert store.images() == [image] == [store.get("one")]
    assert files(store) == {"one.img", "one.json"}
    assert json.loads((path.parent / "one.json").read_text())["source"] == "one.img"


def test_zeros_take_no_room(store: ImageStore) -> None:
    store.add(io.BytesIO(b"a" + bytes(8 << 20) + b"b"), "sparse")

    assert os.stat(store.path("sparse")).st_blocks * 512 < 1 << 20


def test_an_iso_image_is_filled_up_to_its_own_sectors(store: ImageStore) -> None:
    assert store.add(io.BytesIO(b"x" * 2049), "cd", format="iso").bytes == 4096
    assert store.add(io.BytesIO(b"x" * 2048), "dvd", format="iso").bytes == 2048


def test_a_packed_image_is_unpacked(store: ImageStore) -> None:
    store.add(io.BytesIO(gzip.compress(bytes(1024) + b"y" * 1024)), "packed", compression="gz")

    assert pathlib.Path(store.path("packed")).read_bytes() == bytes(1024) + b"y" * 1024


def test_the_bytes_do_not_decide_the_format(store: ImageStore) -> None:
    """A raw image that begins like a qcow2 file, or like a gzip one, is served as it is."""
    for name, magic in (("q", b"QFI\xfb"), ("g", b"\x1f\x8b\x08")):
        store.add(io.BytesIO(magic + bytes(508)), name)
        assert pathlib.Path(store.path(name)).read_bytes()[:4] == (magic + bytes(4))[:4]


def test_the_last_byte_allowed_is_taken_the_next_one_is_not(store: ImageStore) -> None:
    store.add(io.BytesIO(b"a" * 1024), "fits", max_bytes=1024)
    with pytest.raises(OperatorError, match="larger than the 1024 bytes"):
        store.add(io.BytesIO(b"a" * 1025), "large", max_bytes=1024)

    assert files(store) == {"fits.img", "fits.json"}


def test_a_bomb_is_stopped_at_the_limit(store: ImageStore) -> None:
    """What comes out counts, not what goes in."""
    with pytest.raises(OperatorError, match="larger than"):
        store.add(io.BytesIO(gzip.compress(bytes(64 << 20))), "bomb", compression="gz", max_bytes=1 << 20)
    assert files(store) == set()


def test_an_announced_length_over_the_limit_is_refused_before_reading(store: ImageStore) -> None:
    class Untouched:
        def read(self, size: int) -> bytes:
            raise AssertionError("read")

    with pytest.raises(OperatorError, match="larger than"):
        store.add(Untouched(), "large", total=8 << 60, max_bytes=1 << 30)


@pytest.mark.parametrize(
    "name", ["", "../../x", "A", "a/b", "a\0b", ".hidden", "-a", "a" * 64, "ü", "a\n", "a_b", "a b"]
)
def test_names_that_could_be_something_else_are_refused(store: ImageStore, name: str) -> None:
    """An image's name is part of a target's name and of a path."""
    with pytest.raises(OperatorError, match="cannot be the name"):
        store.add(io.BytesIO(CONTENT), name)
    assert store.get(name) is None


@pytest.mark.parametrize("name", ["a", "0", "a" * 63, "debian-12.5", "a..b"])
def test_names_that_are_fine(store: ImageStore, name: str) -> None:
    assert store.add(io.BytesIO(b"x"), name).name == name


def test_a_second_image_of_the_same_name_is_refused_and_the_first_stays(store: ImageStore) -> None:
    store.add(io.BytesIO(b"first"), "one")
    with pytest.raises(OperatorError, match="already"):
        store.add(io.BytesIO(b"second"), "one")

    assert pathlib.Path(store.path("one")).read_bytes()[:6] == b"first\0"


def test_two_imports_of_one_name_end_with_one_image(store: ImageStore) -> None:
    """Whoever comes in last finds the name taken."""

    class Overtaken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if store.get("one") is None:
                store.add(io.BytesIO(b"quick"), "one")
            return super().read(size)

    with pytest.raises(OperatorError, match="already"):
        store.add(Overtaken(b"slow"), "one")
    assert pathlib.Path(store.path("one")).read_bytes()[:6] == b"quick\0"
    assert files(store) == {"one.img", "one.json"}


def test_an_empty_image_is_refused(store: ImageStore) -> None:
    with pytest.raises(OperatorError, match="empty"):
        store.add(io.BytesIO(b""), "none")
    assert files(store) == set()


def test_whatever_is_unknown_is_refused(store: ImageStore) -> None:
    with pytest.raises(OperatorError, match="format"):
        store.add(io.BytesIO(b"x"), "a", format="ext4")
    with pytest.raises(OperatorError, match="must be converted"):
        store.add(io.BytesIO(b"x"), "a", format="qcow2")
    with pytest.raises(OperatorError, match="packing"):
        store.add(io.BytesIO(b"x"), "a", compression="zip")


def test_an_import_that_is_given_up_leaves_nothing(store: ImageStore) -> None:
    """Whoever watches the progress may stop it, at 99 % too."""

    def stop(bytes_in: int, total: int | None, bytes_out: int) -> None:
        if bytes_out > 3 << 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.add(io.BytesIO(bytes(4 << 20)), "a", progress=stop)
    assert files(store) == set()


def test_progress_tells_what_went_in_and_out(store: ImageStore) -> None:
    told: list[tuple[int, int | None, int]] = []
    data = gzip.compress(bytes(3 << 20))
    store.add(
        io.BytesIO(data), "a", compression="gz", total=len(data), progress=lambda *said: told.append(said)
    )

    assert told[-1] == (len(data), len(data), 3 << 20)
    assert all(total == len(data) for _, total, _ in told)


def test_a_removed_image_is_gone_but_open_disks_keep_it(store: ImageStore) -> None:
    store.add(io.BytesIO(b"x" * 512), "one")
    base = store.open("one")
    store.remove("one")

    into = bytearray(512)
    base.read(0, memoryview(into))
    assert into == b"x" * 512
    assert store.images() == []
    for act in (store.remove, store.open):
        with pytest.raises(OperatorError, match="no image"):
            act("one")
    base.close()


def test_an_opened_image_carries_its_hash(store: ImageStore) -> None:
    image = store.add(io.BytesIO(b"x" * 512), "one")
    base = store.open("one")

    assert base.identity.sha256.hex() == image.sha256
    assert base.identity.length == 512
    base.close()


def test_an_image_whose_length_changed_is_not_offered(store: ImageStore) -> None:
    """Somebody edited the file: overlays of it would be garbage."""
    store.add(io.BytesIO(b"x" * 512), "one")
    os.chmod(store.path("one"), 0o644)
    with open(store.path("one"), "ab") as file:
        file.write(b"more")

    assert store.get("one") is None
    assert store.images() == []


def test_a_record_that_is_not_ours_is_no_image(store: ImageStore) -> None:
    store.add(io.BytesIO(b"x" * 512), "one")
    directory = pathlib.Path(store.directory)
    for text in ("", "[]", "{}", '{"name": "one", "more": 1}', "{"):
        (directory / "one.json").write_text(text)
        assert store.images() == []


def test_half_an_image_does_not_stand_in_the_way(store: ImageStore) -> None:
    """Killed between the two renames: the record is there, the bytes are not; it can be taken in again."""
    store.add(io.BytesIO(b"x" * 512), "one")
    os.unlink(store.path("one"))
    assert store.images() == []

    store.add(io.BytesIO(b"y" * 512), "one")
    assert [image.name for image in store.images()] == ["one"]


def test_what_a_killed_import_left_is_swept_a_living_one_is_not(store: ImageStore) -> None:
    class Sweeping(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            swept.extend(store.sweep())
            return super().read(size)

    swept: list[str] = []
    os.makedirs(store.directory)
    (pathlib.Path(store.directory) / ".incoming-0123").write_bytes(b"half")
    store.add(Sweeping(b"x"), "one")

    assert swept == [".incoming-0123"]
    assert files(store) == {"one.img", "one.json"}


def test_no_directory_yet_means_no_images(store: ImageStore) -> None:
    assert store.images() == []
