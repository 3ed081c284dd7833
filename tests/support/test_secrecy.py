"""The search for secrets in logs would find them."""

import base64

import pytest

from tests.support import secrecy
from tests.support.secrecy import Known, forms, found_in

SECRET = b"Sixteen+letters/"


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(secrecy, "KNOWN", Known())
    return secrecy.KNOWN


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc", b"user:"])
@pytest.mark.parametrize("after", [b"", b"\n", b"zz"])
@pytest.mark.parametrize("secret", [SECRET, SECRET + b"1", SECRET + b"12"])
def test_a_secret_is_found_in_every_form(before, after, secret):
    text = before + secret + after
    for said in (text, text.hex().encode(), text.hex().upper().encode()):
        assert found_in(b"log " + said + b" more", {secret})
    assert found_in(base64.b64encode(text), {secret})
    assert found_in(base64.urlsafe_b64encode(text), {secret})


def test_what_is_no_secret_is_not_found():
    text = b"Sixteen-letters/ " + SECRET[:-1] + base64.b64encode(b"something else altogether")

    assert found_in(text, {SECRET}) == []
    assert all(len(form) > 12 for form in forms(SECRET))


def test_secrets_of_answers_and_configurations_are_known(known, tmp_path):
    secrecy.remember_all({"chap": {"user": "ada", "secret": "a" * 16}, "items": [{"token": "scsipub_1.2"}]})
    config = tmp_path / "scsipub.toml"
    config.write_text('[[targets]]\nname = "a"\nusers = [{ user = "u", secret = "of the file here" }]\n')
    (tmp_path / "admin.token").write_text("admin.token-of-the-operator\n")
    secrecy.remember_files(tmp_path, config)

    assert known.secrets == {b"a" * 16, b"scsipub_1.2", b"of the file here", b"admin.token-of-the-operator"}


def test_a_log_is_searched_again_when_it_has_grown_or_more_is_known(known, tmp_path):
    log = tmp_path / "daemon.log"
    secrecy.watch(log)
    assert secrecy.search_logs() == []
    log.write_bytes(b"login with " + SECRET)
    assert secrecy.search_logs() == []

    secrecy.remember(SECRET)

    (found,) = secrecy.search_logs()
    assert str(log) in found
    assert SECRET.decode() not in found  # the report is a log, too
    assert secrecy.search_logs() == []
    assert secrecy.search_logs(again=True) == [found]
