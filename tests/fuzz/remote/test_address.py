"""URLs as libiscsi and QEMU write them."""

import pytest

from fuzz.remote.address import Address
from scsipub.errors import OperatorError

IQN = "iqn.2025-01.pub.scsipub:blank"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"iscsi://h/{IQN}/1", Address("h", 3260, IQN, 1)),
        (f"iscsi://192.0.2.1:3261/{IQN}", Address("192.0.2.1", 3261, IQN, 0)),
        (f"iscsi://[::1]:3260/{IQN}/0", Address("::1", 3260, IQN, 0)),
        (f"iscsi://[::1]/{IQN}/0", Address("::1", 3260, IQN, 0)),
        (f"iscsi://ada%p%40ss@h:1/{IQN}/2", Address("h", 1, IQN, 2, "ada", "p@ss")),
        (f"iscsi://ada%secret@h:1/{IQN}/2", Address("h", 1, IQN, 2, "ada", "secret")),
    ],
)
def test_a_url_names_a_unit(url, address):
    assert Address.parse(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "h:3260",
        f"http://h/{IQN}/1",
        "iscsi://h:3260",
        "iscsi://h:3260/",
        f"iscsi://h/{IQN}/one",
        f"iscsi://h:x/{IQN}/1",
    ],
)
def test_what_is_no_such_url_is_said_so(url):
    with pytest.raises(OperatorError, match=r"iscsi://host:port/iqn/lun"):
        Address.parse(url)


def test_a_secret_is_not_shown():
    address = Address.parse(f"iscsi://ada%secret@h/{IQN}/1")

    assert "secret" not in str(address) + repr(address)
