"""scsipub/bench/wire.py"""

import pytest

from scsipub.bench.wire import Session, TargetError, Url
from tests.support.tiny_target import tiny_target


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("iscsi://h:1/t/2", "h", 1), ("iscsi://h/t/2", "h", 3260), ("iscsi://[::1]:9/t/2", "::1", 9)],
)
def test_a_url_is_read_as_libiscsi_reads_it(text, host, port):
    assert Url.parse(text) == Url(host, port, "t", 2)


@pytest.mark.parametrize("text", ["h:1/t/2", "iscsi://h:1/t", "iscsi://h:1/t/x", "http://h/t/0"])
def test_a_url_without_its_parts_is_refused(text):
    with pytest.raises(ValueError, match="is not iscsi://"):
        Url.parse(text)


def test_a_session_logs_in_asks_the_capacity_and_logs_out():
    with tiny_target(blocks=100) as target:
        session = Session.open(Url.parse(target.url), "iqn.test:me")

        assert session.capacity() == (100, 512)
        assert session.number("FirstBurstLength", 0) == 8192
        session.close()


@pytest.mark.parametrize("which", ["header", "data"])
def test_small_commands_check_their_digests(which):
    with tiny_target(digests=True, blocks=100) as target:
        session = Session.open(Url.parse(target.url), "iqn.test:me", digests=True)
        assert session.capacity() == (100, 512)
        target.lies_about = which

        with pytest.raises(TargetError, match=f"wrong {which} digest"):
            session.capacity()


def test_a_refused_login_says_the_status():
    with tiny_target(login_status=0x0203) as target, pytest.raises(TargetError, match="0203h"):
        Session.open(Url.parse(target.url), "iqn.test:me")
