"""Secrets at rest: what opens them, and what does not."""

import os
import stat

import attrs
import pytest

from scsipub.errors import OperatorError
from scsipub.store.errors import SecretUnreadable
from scsipub.store.vault import KEY_BYTES, Place, Vault

HERE = Place("chap_secrets", "row1", "ada")
SECRET = b"canary-canary-16"


def test_what_was_sealed_opens_where_it_lies(vault):
    assert vault.unseal(vault.seal(SECRET, HERE), HERE) == SECRET


def test_what_is_stored_does_not_show_the_secret(vault):
    sealed = vault.seal(SECRET, HERE)

    assert SECRET not in sealed.data
    assert SECRET.decode() not in repr(sealed)


@pytest.mark.parametrize(
    "elsewhere",
    [attrs.evolve(HERE, table="x"), attrs.evolve(HERE, row="row2"), attrs.evolve(HERE, user="bob")],
)
def test_a_secret_moved_to_another_row_does_not_open(vault, elsewhere):
    with pytest.raises(SecretUnreadable, match="tampered"):
        vault.unseal(vault.seal(SECRET, HERE), elsewhere)


def test_borders_between_the_parts_of_a_place_count():
    assert Place("a", "bc", "d").associated("k") != Place("ab", "c", "d").associated("k")


def test_one_bit_changed_and_it_does_not_open(vault):
    sealed = vault.seal(SECRET, HERE)
    damaged = attrs.evolve(sealed, data=bytes([sealed.data[0] ^ 1]) + sealed.data[1:])

    with pytest.raises(SecretUnreadable):
        vault.unseal(damaged, HERE)


def test_a_secret_sealed_twice_looks_different_each_time(vault):
    assert vault.seal(SECRET, HERE) != vault.seal(SECRET, HERE)


def test_the_key_is_found_again(vault, tmp_path):
    sealed = vault.seal(SECRET, HERE)

    again = Vault.open(tmp_path / "keys")

    assert again is not None
    assert again.unseal(sealed, HERE) == SECRET


def test_there_is_no_vault_before_the_first_start(tmp_path):
    assert Vault.open(tmp_path / "keys") is None


def test_another_key_opens_nothing(vault, tmp_path):
    other = Vault.create(tmp_path / "other", os.urandom)

    with pytest.raises(SecretUnreadable, match="is not in"):
        other.unseal(vault.seal(SECRET, HERE), HERE)


def test_the_key_file_is_for_its_owner_only(vault):
    mode = stat.S_IMODE(os.stat(vault.directory / "1.key").st_mode)

    assert mode == 0o400


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o644, 0o420])
def test_a_key_that_others_may_read_is_refused(vault, mode):
    os.chmod(vault.directory / "1.key", mode)

    with pytest.raises(OperatorError, match="chmod 0400"):
        Vault.open(vault.directory)


def test_a_folder_that_others_may_read_is_refused(vault):
    os.chmod(vault.directory, 0o750)

    with pytest.raises(OperatorError, match="chmod 0700"):
        Vault.open(vault.directory)


def test_a_key_that_is_a_link_is_refused(vault, tmp_path):
    (vault.directory / "1.key").rename(tmp_path / "elsewhere")
    (vault.directory / "1.key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OperatorError, match="no link"):
        Vault.open(vault.directory)


@pytest.mark.parametrize("size", [0, KEY_BYTES - 1, KEY_BYTES + 1])
def test_a_key_of_another_length_is_refused(vault, size):
    os.chmod(vault.directory / "1.key", 0o600)
    (vault.directory / "1.key").write_bytes(bytes(size))

    with pytest.raises(OperatorError, match="restore"):
        Vault.open(vault.directory)


def test_after_a_rotation_the_new_key_seals_and_the_old_one_still_opens(vault):
    before = vault.seal(SECRET, HERE)

    vault.rotate()

    after = vault.seal(SECRET, HERE)
    assert before.key_id != after.key_id
    again = Vault.open(vault.directory)
    assert again is not None
    assert again.current.id == after.key_id
    assert again.unseal(before, HERE) == again.unseal(after, HERE) == SECRET


def test_keys_that_are_forgotten_leave_the_disk(vault):
    vault.rotate()
    vault.forget_others()

    assert [path.name for path in vault.directory.iterdir()] == ["2.key"]
