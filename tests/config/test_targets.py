"""``[[target]]``: what a target of one's own may be, and what is refused about it."""

import pytest

from scsipub.config import LunConfig, TargetConfig, load_config
from scsipub.errors import OperatorError

DISK = 'luns = [{ size = "1 MiB" }]'
TWELVE = "twelve-chars"


@pytest.fixture
def read(tmp_path):
    def read_file(text: str):
        file = tmp_path / "scsipub.toml"
        file.write_text(text)
        return load_config({"config": file}, {}).targets

    return read_file


@pytest.fixture
def refusal(read):
    def refused(text: str) -> str:
        with pytest.raises(OperatorError) as error:
            read(text)
        return str(error.value)

    return refused


def test_a_name_and_a_size_make_a_target(read):
    (target,) = read(f'[[target]]\nname = "attic"\n{DISK}')

    assert target.name == "iqn.2025-01.pub.scsipub:attic"
    assert target.luns == (LunConfig(lun=0, size=1024 * 1024),)
    assert not target.shared
    assert target.users == ()


def test_everything_can_be_said_about_a_target(read):
    (target,) = read(f"""
        [tiers.home]
        allocation_budget = "5 GiB"
        [[target]]
        name = "iqn.2001-04.com.example:disk"
        alias = "The one in the attic"
        shared = true
        tier = "home"
        algorithm_floor = "SHA-256"
        initiators = ["iqn.1993-08.org.debian:*"]
        sanitize_seconds = 2
        [[target.luns]]
        lun = 5
        image = "debian-12"
        read_only = true
        removable = true
        [[target.luns]]
        lun = 0
        size = "1 MiB"
        block_size = 4096
        physical_block_size = 65536
        unmap_ignores_pattern = true
        thin = false
        [[target.users]]
        user = "alice"
        secret = "{TWELVE}"
        mutual_user = "the-target"
        mutual_secret = "{TWELVE}-too"
    """)

    assert target.name == "iqn.2001-04.com.example:disk"
    assert [lun.lun for lun in target.luns] == [0, 5]
    assert target.algorithm_floor == 7
    assert target.tier == "home"
    assert target.users[0].mutual_user == "the-target"


def test_secrets_are_not_in_the_representation(read):
    (target,) = read(f'[[target]]\nname = "a"\n{DISK}\nusers = [{{ user = "u", secret = "{TWELVE}" }}]')

    assert TWELVE not in repr(target)


@pytest.mark.parametrize(
    "name", ["Attic", "attic/1", "attic 1", "", "-a", "blank", "multi", "image.x", "iqn.x"]
)
def test_names_that_would_break_initiators_or_clash_with_ours_are_refused(refusal, name):
    assert refusal(f'[[target]]\nname = "{name}"\n{DISK}')


def test_a_name_may_have_223_characters_and_no_more(read, refusal):
    """RFC 7143 §4.2.7.1."""
    room = 223 - len("iqn.2025-01.pub.scsipub:")

    assert read(f'[[target]]\nname = "{"x" * room}"\n{DISK}')
    assert "no iSCSI name" in refusal(f'[[target]]\nname = "{"x" * (room + 1)}"\n{DISK}')


def test_two_targets_of_one_name_are_refused(refusal):
    assert "2 targets are called" in refusal(
        f'[[target]]\nname = "a"\n{DISK}\n[[target]]\nname = "a"\n{DISK}'
    )


@pytest.mark.parametrize(
    ("luns", "said"),
    [
        ("[]", "no LUN 0"),
        ('[{ lun = 1, size = "1 MiB" }]', "no LUN 0"),
        ('[{ lun = 256, size = "1 MiB" }]', "from 0 to 255"),
        ('[{ size = "1 MiB" }, { lun = 0, size = "1 MiB" }]', "LUN 0 is taken"),
        ("[{ }]", "needs an image or a size"),
        ('[{ image = "a", size = "1 MiB" }]', "and not both"),
        ("[{ size = 5000 }]", "not whole blocks"),
        ("[{ size = 8704, block_size = 4096 }]", "not whole blocks"),
        ("[{ size = 8192, block_size = 1024 }]", "Use 512 or 4096"),
        ("[{ size = 8192, physical_block_size = 131072 }]", "power of two from 512 to 65536"),
        ("[{ size = 8192, physical_block_size = 1000 }]", "power of two from 512 to 65536"),
        ("[{ size = 8192, block_size = 4096, physical_block_size = 512 }]", "less than a block"),
        ('[{ size = "1 MiB", readonly = true }]', "Did you mean read_only?"),
        ('[{ image = "../etc" }]', "the name of an image"),
        ('"1 MiB"', "list of tables"),
    ],
)
def test_luns_that_cannot_be_are_refused(refusal, luns, said):
    assert said in refusal(f'[[target]]\nname = "a"\nluns = {luns}')


def users(*rows: str) -> str:
    return f'[[target]]\nname = "a"\n{DISK}\nusers = [{", ".join(rows)}]'


def user(name="u", secret=TWELVE, **more) -> str:
    said = {"user": name, "secret": secret, **more}
    return "{ " + ", ".join(f'{key} = "{value}"' for key, value in said.items()) + " }"


@pytest.mark.parametrize("length", [12, 16, 255])
def test_a_secret_of_twelve_characters_is_long_enough(read, length):
    """RFC 7143 §9.2.1: 96 bits."""
    assert read(users(user(secret="s" * length)))


@pytest.mark.parametrize("length", [0, 11, 256])
def test_a_secret_of_eleven_characters_is_not_and_the_message_does_not_repeat_it(refusal, length):
    said = refusal(users(user(secret="s" * length)))

    assert "12 to 255 characters" in said
    assert "ss" not in said.replace("scsipub", "")


def test_one_secret_for_both_directions_is_refused(refusal):
    """RFC 7143 §9.2.1: an initiator could have its answer from us by asking us the same challenge."""
    said = refusal(users(user(mutual_user="t", mutual_secret=TWELVE)))
    crossed = refusal(
        users(user("u", "u" * 12, mutual_user="t", mutual_secret="v" * 12), user("v", "v" * 12))
    )

    assert "one secret for both directions" in said
    assert "one secret for both directions" in crossed


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (['{ user = "u" }'], "has no secret"),
        ([f'{{ secret = "{TWELVE}" }}'], "has no user"),
        ([user(mutual_user="t")], "half of what mutual CHAP needs"),
        ([user(mutual_secret="x" * 12)], "half of what mutual CHAP needs"),
        ([user(), user()], "is there twice"),
        ([user(name="")], "1 to 255"),
        ([user(name="x" * 256)], "1 to 255"),
    ],
)
def test_users_that_cannot_be_are_refused(refusal, rows, said):
    assert said in refusal(users(*rows))


@pytest.mark.parametrize(("name", "code"), [("MD5", 5), ("sha1", 6), ("SHA-256", 7), ("SHA3-256", 8)])
def test_the_weakest_algorithm_is_named(read, name, code):
    (target,) = read(f'{users(user())}\nalgorithm_floor = "{name}"')

    assert target.algorithm_floor == code


def test_a_floor_without_users_or_of_no_known_algorithm_is_refused(refusal):
    assert "no users" in refusal(f'[[target]]\nname = "a"\n{DISK}\nalgorithm_floor = "MD5"')
    assert "MD5, SHA-1, SHA-256, SHA3-256" in refusal(f'{users(user())}\nalgorithm_floor = "CRC32"')


def test_a_tier_nobody_defined_is_refused(refusal):
    assert "Use one of: anonymous." in refusal(f'[[target]]\nname = "a"\n{DISK}\ntier = "gold"')


@pytest.mark.parametrize(
    ("initiators", "name", "admitted"),
    [
        ((), "iqn.1993-08.org.debian:01:abc", True),
        (("iqn.1993-08.org.debian:*",), "iqn.1993-08.org.debian:01:abc", True),
        (("iqn.1993-08.org.debian:*",), "IQN.1993-08.ORG.DEBIAN:01:ABC", True),
        (("iqn.1993-08.org.debian:*",), "iqn.1993-08.org.debian", False),
        (("iqn.1993-08.org.debian:*",), "iqn.1993-08xorg.debian:01", False),
        (("a", "b"), "b", True),
        (("a", "b"), "ab", False),
        (("*:end",), "x:end", True),
        (("*:end",), "x:end\n", False),
    ],
)
def test_a_list_of_initiators_admits_those_on_it(initiators, name, admitted):
    target = TargetConfig(name="t", luns=(), initiators=initiators)

    assert target.admits(name) is admitted
