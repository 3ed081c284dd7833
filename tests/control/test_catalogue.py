"""Which targets there are, and what a worker is told of them."""

import io

import attrs
import pytest

from scsipub.config import ChapUser, Config, LunConfig, TargetConfig
from scsipub.control.catalogue import Catalogue
from scsipub.limits import DEFAULT

PREFIX = "iqn.2025-01.pub.scsipub"
USER = ChapUser(user="ann", secret="a secret of 16 c", mutual_user="us", mutual_secret="another of 16 ch")
DISK = TargetConfig(
    name=f"{PREFIX}:disk",
    luns=(LunConfig(lun=0, size=1 << 20), LunConfig(lun=3, image="one", read_only=True)),
    shared=True,
    users=(USER,),
    algorithm_floor=7,
    initiators=("iqn.2000-01.org.us:*",),
)


@pytest.fixture
def config(tmp_path):
    return Config(state_dir=tmp_path, targets=(DISK,), limits=attrs.evolve(DEFAULT, blank_bytes=1 << 21))


@pytest.fixture
def catalogue(config):
    made = Catalogue(config, b"i" * 32)
    for name in ("one", "two", "zwei"):
        made.store.add(io.BytesIO(name.encode() * 1000), name)
    made.reload()
    return made


def described(catalogue, name, session="0123456789abcdef"):
    entry = catalogue.find(f"{PREFIX}:{name}")
    return catalogue.describe(entry, session, session)


def test_blank_is_zeros_of_the_configured_size(catalogue):
    (lun,) = described(catalogue, "blank").luns

    assert (lun.lun, lun.size, lun.image) == (0, 1 << 21, None)
    assert lun.budget == catalogue.config.tiers["anonymous"].allocation_budget


def test_every_image_is_a_target(catalogue):
    (lun,) = described(catalogue, "image.two").luns

    assert lun.image == catalogue.store.path("two")
    assert lun.size == catalogue.images["two"].bytes
    assert lun.image_sha256 == catalogue.images["two"].sha256


def test_multi_has_two_units_on_the_first_two_images(catalogue):
    first, second = described(catalogue, "multi").luns

    assert (first.lun, second.lun) == (0, 1)
    assert [lun.image for lun in (first, second)] == [catalogue.store.path(n) for n in ("one", "two")]


def test_multi_fills_up_with_blanks_where_images_are_missing(config):
    catalogue = Catalogue(config, b"i" * 32)
    catalogue.store.add(io.BytesIO(b"x" * 512), "only")
    catalogue.reload()

    assert [lun.image is None for lun in described(catalogue, "multi").luns] == [False, True]


@pytest.mark.parametrize(
    "name",
    [
        f"{PREFIX}:image.nosuch", f"{PREFIX}:image.", f"{PREFIX}:image.../one", f"{PREFIX}:nosuch",
        f"{PREFIX}:", PREFIX, "", "blank", ":blank", "iqn.2000-01.org.other:blank", f"{PREFIX}:x:blank",
        f"{PREFIX}:BLANK", f"{PREFIX}:image.one\0", "x" * 10000,
    ],
)  # fmt: skip
def test_nothing_else_is_a_target(catalogue, name):
    assert catalogue.find(name) is None


def test_images_come_and_go(catalogue):
    catalogue.store.remove("two")
    assert catalogue.find(f"{PREFIX}:image.two") is not None
    catalogue.reload()
    assert catalogue.find(f"{PREFIX}:image.two") is None


def test_an_image_that_went_between_two_questions_is_missed(catalogue):
    entry = catalogue.find(f"{PREFIX}:image.two")
    catalogue.store.remove("two")
    catalogue.reload()

    with pytest.raises(KeyError, match="two"):
        catalogue.describe(entry, "s", "s")


def test_a_configured_target_says_everything_but_its_secrets(catalogue):
    entry = catalogue.find(DISK.name)
    target = catalogue.describe(entry, "s", "owner")

    assert target.shared
    assert (target.auth.required, target.auth.algorithm_floor, target.auth.mutual) == (True, 7, True)
    assert [(lun.lun, lun.read_only, lun.adopt) for lun in target.luns] == [(0, False, True), (3, True, True)]
    assert USER.secret not in str(target.to_json())
    assert USER.mutual_secret not in str(target.to_json())


def test_the_account_of_a_user_is_found_by_name(catalogue):
    entry = catalogue.find(DISK.name)

    assert entry.account("ann").secret == USER.secret.encode()
    assert entry.account("ann").mutual_name == "us"
    assert entry.account("bob") is None


def test_discovery_tells_an_initiator_of_what_it_may_use(catalogue):
    public = [f"{PREFIX}:{name}" for name in ("blank", "multi", "image.one", "image.two", "image.zwei")]

    assert catalogue.names("iqn.2000-01.org.other:a") == public
    assert catalogue.names("iqn.2000-01.org.us:a") == [*public, DISK.name]


def test_identities_differ_by_overlay_unit_and_install(config, catalogue):
    elsewhere = Catalogue(config, b"j" * 32)
    (one,) = described(catalogue, "blank", "00000000000000aa").luns
    (same,) = described(catalogue, "blank", "00000000000000aa").luns
    (two,) = described(catalogue, "blank", "00000000000000bb").luns
    (there,) = described(elsewhere, "blank", "00000000000000aa").luns
    multi = described(catalogue, "multi", "00000000000000aa").luns

    assert one.uuid == same.uuid
    assert len({one.uuid, two.uuid, there.uuid, multi[1].uuid}) == 4
    assert len(bytes.fromhex(one.uuid)) == 16


def test_shared_targets_keep_their_overlay_from_start_to_start(config, catalogue):
    assert catalogue.shared_owner("a") == Catalogue(config, b"i" * 32).shared_owner("a")
    assert catalogue.shared_owner("a") != catalogue.shared_owner("b")
