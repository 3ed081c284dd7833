"""A rented target outlives the daemon, however that ends.

Source: SPC-4 §7.8.5 and §7.8.15 (designators stay the same), SBC-3 §4.10 (what was acknowledged is there).
On SQLite and on PostgreSQL; ordered over the API; clients are our own initiator, QEMU's and libiscsi's."""

import os
import re

import pytest

from tests.support.daemon import daemon, start
from tests.support.initiator import LoginFailed
from tests.support.renting import (
    MIB,
    api,
    identities,
    kill_all,
    libiscsi,
    logged_in,
    pattern,
    qemu_io,
    rent,
    tenant,
    who_it_is,
)


def complaints(log: str) -> list[str]:
    """Lines of the log that are worse than information."""
    return [line for line in log.splitlines() if re.search(r"\[(warning|error|critical)", line)]


@pytest.mark.parametrize("end", ["kill", "term"])
def test_a_rented_target_is_the_same_after_the_daemon_has_ended(tmp_path, options, end):
    """Name, serial numbers, designators and data of both units; ended in the middle of a session."""
    d = start(tmp_path, "--workers", "2", *options)
    tenant(d)
    wish = {"tenant": "ada", "images": ["readme"], "size": 16 * MIB}
    status, rented = api(d, "POST", "/targets", wish)
    assert status == 201, rented
    qemu_io(d, rented, "write -P 0xa5 1M 2M", "flush")
    # Not flushed: the machine lives on, and so does the data.
    qemu_io(d, rented, "write -P 0x5a 0 64k", "write -P 0x3c 65k 512", lun=1)
    shown = identities(d, rented, 2)
    with logged_in(d, rented) as who:
        before, below = who_it_is(who, 2), who.read(0, 8, lun=0)
        who.write(100, pattern(1), lun=0)
        who.write(4096, pattern(2), lun=1)
        if end == "kill":
            kill_all(d)
        else:
            d.stop()

    with daemon(tmp_path, "--workers", "2", *options) as again:
        status, found = api(again, "GET", f"/targets/{rented['id']}")
        assert (status, found["name"], found["state"]) == (200, rented["name"], "ACTIVE")
        assert [lun["uuid"] for lun in found["luns"]] == [lun["uuid"] for lun in rented["luns"]]
        assert identities(again, rented, 2) == shown
        qemu_io(again, rented, "read -P 0xa5 1M 2M")
        qemu_io(again, rented, "read -P 0x5a 0 64k", "read -P 0 64k 512", "read -P 0x3c 65k 512", lun=1)
        libiscsi(again, rented, "iscsi-readcapacity16", lun=1)
        with logged_in(again, rented) as who:
            assert who_it_is(who, 2) == before
            assert who.read(100, 128, lun=0) == pattern(1)
            assert who.read(4096, 128, lun=1) == pattern(2)
            assert who.read(0, 8, lun=0) == below
    log = (tmp_path / "daemon.log").read_text()
    assert complaints(log) == []


# -- what is not as it should be: each says what to find in the reason --------------------------------------


def _no_data(data, map, image):
    data.unlink()
    return f"{data.name} is missing"


def _no_map(data, map, image):
    map.unlink()
    return f"{map.name} is missing"


def _shorter(data, map, image):
    os.truncate(data, data.stat().st_size - 512)
    return f"{data.name} has the wrong length"


def _damaged(data, map, image):
    raw = bytearray(map.read_bytes())
    raw[40] ^= 1
    map.write_bytes(raw)
    return ".map has a damaged header"


def _of_another_disk(data, map, image):
    other = next(path for path in sorted(map.parent.glob("t-*.map")) if path != map)
    map.write_bytes(other.read_bytes())
    return ".map is of another"


def _failed_medium(data, map, image):
    map.with_suffix(".failed").write_text("fdatasync: Input/output error")
    return "its medium has failed, and nobody has looked at it since: fdatasync"


def _other_record(data, map, image):
    record = image.with_suffix(".json")
    found = re.search(r'"sha256": *"([0-9a-f]{64})"', record.read_text())
    rewritten = record.read_text().replace(found[1], "ab" * 32)
    record.unlink()
    record.write_text(rewritten)
    return f"image {image.stem} is another one now"


def _other_length(data, map, image):
    image.chmod(0o600)
    with image.open("ab") as file:
        file.write(bytes(512))
    return f"image {image.stem}"


def _no_image(data, map, image):
    image.unlink()
    image.with_suffix(".json").unlink()
    return f"image {image.stem} is missing"


# Another disk's map must be whole when it is taken, so maps are damaged later.
DAMAGES = (
    *(_no_data, _no_map, _shorter, _of_another_disk, _damaged, _failed_medium),
    *(_other_record, _other_length, _no_image),
)


def _contents(files):
    return {file: file.read_bytes() if file.exists() else None for file in files}


def test_what_is_not_as_it_should_be_is_offline_and_never_an_empty_disk(tmp_path):
    """The reason in words, for the operator and the tenant; initiators are told to come again; the target
    beside them serves.  Put right, each is back with its data."""
    source, state = tmp_path / "mine.raw", tmp_path / "state"
    source.write_bytes(b"mine" * 32768)
    with daemon(state, "--workers", "1") as d:
        well, rented = rent(d, MIB), {}
        for number, damage in enumerate(DAMAGES):
            d.cli("image", "add", str(source), "--name", f"mine{number}")
            rented[damage] = rent(d, image=f"mine{number}")
            with logged_in(d, rented[damage]) as who:
                who.write(8, pattern(number))
    kept, said = {}, {}
    for number, (damage, target) in enumerate(rented.items()):
        stem = f"t-{target['luns'][0]['uuid']}-0"
        data, map = (state / "overlays" / f"{stem}.{part}" for part in ("data", "map"))
        image = state / "images" / f"mine{number}.img"
        kept |= _contents((data, map, map.with_suffix(".failed"), image, image.with_suffix(".json")))
        said[damage] = damage(data, map, image)
    left = _contents(kept)
    assert left != kept

    with daemon(state, "--workers", "1") as again:
        for damage, target in rented.items():
            status, shown = api(again, "GET", f"/targets/{target['id']}")
            assert (status, shown["state"]) == (200, "OFFLINE"), damage
            assert shown["reason"].startswith("LUN 0: ")
            assert said[damage] in shown["reason"]
            assert f"{target['id']} is offline: {shown['reason']}" in again.log_text()
            with pytest.raises(LoginFailed) as refused:
                logged_in(again, target, patience=0.0)
            assert refused.value.status == 0x0301
            with pytest.raises(RuntimeError, match="cannot be served"):
                again.ask("target.resume", id=target["id"])
        logged_in(again, well).close()
        assert _contents(kept) == left

    for file, content in kept.items():
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
    with daemon(state, "--workers", "1") as repaired:
        for number, target in enumerate(rented.values()):
            assert repaired.ask("target.show", id=target["id"])["state"] == "ACTIVE"
            with logged_in(repaired, target) as who:
                assert who.read(8, 128) == pattern(number)
