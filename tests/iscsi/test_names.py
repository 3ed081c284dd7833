"""Which strings are iSCSI names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import LoginRefused
from scsipub.iscsi.constants import LoginStatus
from scsipub.iscsi.names import initiator_name_untrusted, target_name_untrusted

IQN = "iqn.2025-01.pub.scsipub:"


@pytest.mark.parametrize(
    "name",
    [
        "iqn.1993-08.org.debian:01:abc",
        "iqn.2010-04.org.ipxe:d0c5-77.a",
        "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test",
        "iqn.2025-01.org.example:my_host",
        "eui.02004567a425678d",
        "naa.52004567ba64678d",
        "naa.62004567ba64678d0123456789abcdef",
    ],
)
def test_names_of_the_three_kinds_are_taken_as_they_are(name: str) -> None:
    """RFC 7143 §4.2.7.3-§4.2.7.5."""
    assert initiator_name_untrusted(name) == name


def test_hexadecimal_names_may_come_in_upper_case() -> None:
    """RFC 7143 §4.2.7.4 shows one so; compared they are in lower case."""
    assert initiator_name_untrusted("eui.02004567A425678D") == "eui.02004567a425678d"


@pytest.mark.parametrize(("length", "allowed"), [(223, True), (224, False)])
def test_a_name_has_at_most_223_bytes(length: int, allowed: bool) -> None:
    """RFC 7143 §4.2.7.1."""
    name = IQN + "a" * (length - len(IQN))
    if allowed:
        assert initiator_name_untrusted(name) == target_name_untrusted(name) == name
    else:
        with pytest.raises(LoginRefused):
            initiator_name_untrusted(name)
        with pytest.raises(LoginRefused):
            target_name_untrusted(name)


def test_a_target_name_may_come_in_upper_case_but_holds_no_underscore() -> None:
    """RFC 3722: folded before it is compared; what no target is called is not found."""
    assert target_name_untrusted(IQN.upper() + "A") == IQN + "a"
    with pytest.raises(LoginRefused) as refused:
        target_name_untrusted(IQN + "a_b")
    assert refused.value.status == LoginStatus.NOT_FOUND


@given(st.text(max_size=300).map(lambda tail: IQN + tail))
def test_what_passes_is_safe_as_a_file_name_and_in_a_log(name: str) -> None:
    """open-iscsi makes directories of these names."""
    for read in (initiator_name_untrusted, target_name_untrusted):
        try:
            passed = read(name)
        except LoginRefused:
            continue
        assert passed.isascii() and passed.isprintable() and len(passed) <= 223
        assert not set(passed) & set("/\\ %'\"") and ".." not in passed
