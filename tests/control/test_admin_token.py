"""The admin token: made once, kept from others, compared as a whole."""

import pytest

from scsipub.control.admin_token import AdminToken
from scsipub.errors import OperatorError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "admin.token"


def opened(file):
    token = AdminToken()
    token.open(file)
    return token


def test_the_first_start_makes_it_and_the_second_reads_it(file):
    opened(file)
    made = file.read_text()

    assert opened(file).admits(made.strip())
    assert file.read_text() == made
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(made.strip()) == len("admin.") + 43


def test_two_installs_have_two(tmp_path):
    assert not opened(tmp_path / "one").admits((tmp_path / "one").read_text())  # with its line's end
    opened(tmp_path / "two")
    assert not opened(tmp_path / "one").admits((tmp_path / "two").read_text().strip())


@pytest.mark.parametrize("claimed", ["", "admin.", None, 7, ["admin."], "x" * 100_000, "\udcff"])
def test_anything_else_is_refused(file, claimed):
    assert not opened(file).admits(claimed)


def test_nothing_is_admitted_before_it_is_read(file):
    assert not AdminToken().admits("")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_opens_nothing(file, mode):
    opened(file)
    file.chmod(mode)
    token = AdminToken()

    with pytest.raises(OperatorError):
        token.open(file)
    assert not token.admits(file.read_text().strip())


def test_an_empty_file_opens_nothing(file):
    file.touch(0o600)

    with pytest.raises(OperatorError):
        opened(file)
