"""Client certificates over real TLS: who may log in to a target that asks for one.

Source: RFC 8446 §4.4.2.4 (certificates of clients); RFC 7143 §11.13.5 (statuses of a login)."""

import ssl

import pytest

from tests.support import chap
from tests.support.certificates import DAY, Authority, now
from tests.support.daemon import daemon
from tests.support.initiator import Initiator, LoginFailed
from tests.wire.test_connect import connected

pytestmark = pytest.mark.wire

MIB = 1 << 20
NOT_AUTHENTICATED, NOT_AUTHORISED = 0x0201, 0x0202
SERVERS, CLIENTS = Authority("Of the server"), Authority("Of the clients")
BY_FILE, BY_NAME, UNBOUND = (
    CLIENTS.pair(),
    CLIENTS.pair("rack.example.org"),
    CLIENTS.pair("other.example.org"),
)
BY_COMMON_NAME = CLIENTS.pair("x.example.org", subject="node seven")
OF_BOB = CLIENTS.pair("bob.example.org")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("clients")
    SERVERS.pair().write(place / "cert.pem", place / "key.pem")
    (place / "clients.pem").write_bytes(CLIENTS.pem)
    (place / "ada.pem").write_bytes(BY_FILE.certificate)
    (place / "scsipub.toml").write_text("[limits]\npenalty_malformed = 0.0\n")
    return place


@pytest.fixture(scope="module")
def served(place):
    options = ["--workers", "2", "--config", str(place / "scsipub.toml"), "--tls-port", "0"]
    options += ["--tls-cert", str(place / "cert.pem"), "--tls-key", str(place / "key.pem")]
    with daemon(place / "state", *options, "--tls-client-ca", str(place / "clients.pem")) as d:
        d.cli("tier", "set", "home", "--budget", "64 MiB")
        d.cli("tier", "set", "safe", "--budget", "64 MiB", "--certificate")
        d.cli("tenant", "create", "ada", "--tier", "safe")
        d.cli("tenant", "create", "bob", "--tier", "safe")
        d.cli("tenant", "certificate", "add", "ada", "--file", str(place / "ada.pem"))
        d.cli("tenant", "certificate", "add", "ada", "--name", "rack.example.org")
        d.cli("tenant", "certificate", "add", "ada", "--name", "node seven")
        d.cli("tenant", "certificate", "add", "bob", "--fingerprint", OF_BOB.fingerprint)
        yield d
    assert "Traceback" not in d.log_text(), d.log_text()


@pytest.fixture(scope="module")
def rented(served):
    return served.cli("target", "create", "ada", "--size", "1 MiB")


def dial(d, own=None, **how):
    initiator = Initiator(d.endpoints["tls"], **how)
    context = SERVERS.client_context(own)
    initiator.sock = context.wrap_socket(initiator.sock, server_hostname="localhost")
    return initiator


def log_in(who, rented):
    chap.begin(who, rented["name"])
    offer = chap.choose(who, "7")
    chap.prove(who, offer, rented["chap"]["user"], rented["chap"]["secret"].encode())
    return who.finish_login().settle()


@pytest.mark.parametrize("own", [BY_FILE, BY_NAME, BY_COMMON_NAME], ids=["fingerprint", "san", "common name"])
def test_a_certificate_of_the_tenant_s_opens_its_target(served, rented, own):
    with dial(served, own) as who:
        log_in(who, rented).write(0, bytes(4096))
        assert who.logout() == 0


def test_several_share_it_whichever_worker_has_the_keys(served, rented):
    """The certificate is known to the worker that did the handshake, and asked about by the owner."""
    sessions = [
        log_in(dial(served, BY_NAME, name=f"iqn.1993-08.org.debian:01:{n}"), rented) for n in range(4)
    ]

    assert len({session["worker"] for session in served.ask("session.list")}) == 1
    for session in sessions:
        session.close()


@pytest.mark.parametrize(
    ("own", "status"),
    [(None, NOT_AUTHENTICATED), (UNBOUND, NOT_AUTHORISED), (OF_BOB, NOT_AUTHORISED)],
    ids=["none", "nobody's", "another tenant's"],
)
def test_who_has_shown_none_or_another_is_refused(served, rented, own, status):
    with dial(served, own) as who, pytest.raises(LoginFailed) as refused:
        log_in(who, rented)

    assert refused.value.status == status


def test_without_tls_nobody_gets_in(served, rented):
    with Initiator(served.iscsi) as who, pytest.raises(LoginFailed) as refused:
        log_in(who, rented)

    assert refused.value.status == NOT_AUTHORISED


def test_the_certificate_does_not_stand_for_the_secret(served, rented):
    with dial(served, BY_FILE) as who, pytest.raises(LoginFailed) as refused:
        log_in(who, rented | {"chap": rented["chap"] | {"secret": "x" * 16}})

    assert refused.value.status == NOT_AUTHENTICATED


def test_targets_that_ask_for_none_are_as_they_were(served):
    for own in (None, BY_FILE):
        with dial(served, own) as who:
            who.login(served.target("blank")).settle()


@pytest.mark.parametrize(
    "own",
    [Authority("Somebody").pair(), CLIENTS.pair(begins=now() - 3 * DAY, ends=now() - DAY)],
    ids=["another authority", "expired"],
)
def test_a_certificate_that_is_not_believed_ends_the_handshake(served, own):
    with pytest.raises((ssl.SSLError, ConnectionError, LoginFailed)):
        dial(served, own).login(served.target("blank"))
    assert served.status()["counters"]["malformed"]["tls handshake"] >= 1


def test_one_target_may_ask_where_its_tier_does_not(served):
    rented = served.cli("target", "create", "ada", "--size", "1 MiB", "--tier", "home", "--certificate")
    with dial(served, BY_FILE) as who:
        log_in(who, rented)
    with dial(served) as who, pytest.raises(LoginFailed) as refused:
        log_in(who, rented)

    assert refused.value.status == NOT_AUTHENTICATED


def test_a_certificate_that_is_removed_opens_nothing_any_more(served):
    rented = served.cli("target", "create", "bob", "--size", "1 MiB")
    with dial(served, OF_BOB) as who:
        log_in(who, rented)
    [known] = served.cli("tenant", "certificate", "list", "--tenant", "bob")
    served.cli("tenant", "certificate", "remove", known["id"])

    with dial(served, OF_BOB) as who, pytest.raises(LoginFailed) as refused:
        log_in(who, rented)
    assert refused.value.status == NOT_AUTHORISED


def test_what_is_bound_is_known_after_a_restart(tmp_path):
    with daemon(tmp_path, "--workers", "1") as d:
        d.cli("tier", "set", "home", "--budget", "64 MiB")
        d.cli("tenant", "create", "ada", "--tier", "home")
        made = d.cli("tenant", "certificate", "add", "ada", "--fingerprint", "AB:" * 31 + "AB")

    with daemon(tmp_path, "--workers", "1") as again:
        assert again.cli("tenant", "certificate", "list") == [made]
    assert made["identity"] == "sha256:" + "ab" * 32


def test_scsipub_connect_shows_it(served, rented, place):
    (place / "ca.pem").write_bytes(SERVERS.pem)
    (place / "mine.pem").write_bytes(BY_FILE.certificate + BY_FILE.key)
    words = ["--target", rented["name"], "--certificate", str(place / "mine.pem")]
    with (
        connected(served.endpoints["tls"], place, *words) as client,
        Initiator(client.portal) as initiator,
    ):
        log_in(initiator, rented).write(0, bytes(512))
