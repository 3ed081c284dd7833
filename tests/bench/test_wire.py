"""scsipub/bench/wire.py"""

import contextlib

import pytest

from scsipub.bench.wire import Session, TargetError, Url
from tests.support.daemon import daemon
from tests.support.tiny_target import tiny_target


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("iscsi://h:1/t/2", "h", 1), ("iscsi://h/t/2", "h", 3260), ("iscsi://[::1]:9/t/2", "::1", 9)],
)
def test_a_url_is_read_as_libiscsi_reads_it(text, host, port):
    assert Url.parse(text) == Url(host, port, "t", 2)


def test_user_and_secret_are_written_as_libiscsi_writes_them_and_the_secret_is_not_shown():
    url = Url.parse("iscsi://ann%sixteen-letters!@h:1/t/2")

    assert (url.user, url.secret, url.host) == ("ann", "sixteen-letters!", "h")
    assert "sixteen" not in repr(url)


@pytest.mark.parametrize(
    "text", ["h:1/t/2", "iscsi://h:1/t", "iscsi://h:1/t/x", "http://h/t/0", "iscsi://h:x/t/0"]
)
def test_a_url_without_its_parts_is_refused(text):
    with pytest.raises(ValueError, match=r"is not iscsi://|is not HOST"):
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


@pytest.mark.parametrize("floor", ["MD5", "SHA-1", "SHA-256", "SHA3-256"])
def test_chap_is_answered_with_each_algorithm_and_a_wrong_secret_is_refused(chap_daemon, floor):
    """RFC 7143 §12.1.3, against the daemon: a target of the test's own would make the same mistake twice."""
    host, target = chap_daemon.iscsi, chap_daemon.target(f"floor-{floor.lower()}")

    with contextlib.closing(
        Session.open(Url.parse(f"iscsi://ann%sixteen-letters!@{host}/{target}/0"), "iqn.a:b")
    ) as s:
        assert s.capacity()[1] == 512
    with pytest.raises(TargetError, match="0201h"):
        Session.open(Url.parse(f"iscsi://ann%sixteen-lettres!@{host}/{target}/0"), "iqn.a:b")


def test_an_account_where_none_is_asked_for_is_said_in_words(chap_daemon):
    url = Url.parse(f"iscsi://ann%sixteen-letters!@{chap_daemon.iscsi}/{chap_daemon.target('blank')}/0")

    with pytest.raises(TargetError, match="does not ask for CHAP"):
        Session.open(url, "iqn.a:b")


@pytest.fixture(scope="module")
def chap_daemon(tmp_path_factory):
    place = tmp_path_factory.mktemp("chap")
    (place / "scsipub.toml").write_text(
        "".join(
            f'''
[[target]]
name = "floor-{floor.lower()}"
luns = [{{ size = "1 MiB" }}]
users = [{{ user = "ann", secret = "sixteen-letters!" }}]
algorithm_floor = "{floor}"
'''
            for floor in ("MD5", "SHA-1", "SHA-256", "SHA3-256")
        )
    )
    with daemon(place / "state", "--config", str(place / "scsipub.toml"), "--workers", "1") as d:
        yield d
