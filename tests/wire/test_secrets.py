"""A dump of the database reveals no secret, and a key is exchanged while the daemon runs."""

import sqlite3
import subprocess

import pytest

from tests.support import secrecy
from tests.support.daemon import daemon
from tests.support.initiator import LoginFailed
from tests.support.postgres import programs
from tests.support.renting import MIB, api, logged_in, rent, tenant


def dump(state_dir, options):
    """The whole database as its own tool writes it; of SQLite the files as well."""
    if not options:
        with sqlite3.connect(state_dir / "scsipub.db") as connection:
            text = "\n".join(connection.iterdump()).encode()
        return text + b"".join(file.read_bytes() for file in state_dir.glob("scsipub.db*"))
    done = subprocess.run([programs() / "pg_dump", options[1]], capture_output=True, check=True, timeout=60)
    return done.stdout


def test_a_dump_without_the_keys_reveals_no_secret(tmp_path, options):
    """Of CHAP, both ways; of tokens; of answers that are kept for repeated requests; nor the keys."""
    with daemon(tmp_path, "--workers", "1", *options) as d:
        tenant(d)
        token = d.cli("token", "create", "--tenant", "ada")["token"]
        secrets = {token.encode(), token.rpartition(".")[2].encode()}
        wish = {"size": MIB, "mutual": True}
        for number in range(3):
            key = {"Idempotency_Key": f"request-number-{number}"}
            status, rented = api(d, "POST", "/targets", wish, token, **key)
            assert status == 201, rented
            assert api(d, "POST", "/targets", wish, token, **key)[1] == rented  # kept, and kept sealed
            secrets |= {rented["chap"]["secret"].encode(), rented["chap"]["mutual_secret"].encode()}
        logged_in(d, rented).close()
    secrets |= {key.read_bytes() for key in (tmp_path / "keys").glob("*.key")}
    secrets.add((tmp_path / "admin.token").read_bytes().strip())
    assert len(secrets) == 10

    dumped = dump(tmp_path, options)

    assert rented["id"].encode() in dumped  # it is the right database
    assert secrecy.found_in(dumped, secrets) == []


def test_keys_are_rotated_while_initiators_log_in(tmp_path, options):
    """Old secrets go on working; without the new key nothing does, and the daemon says so."""
    with daemon(tmp_path, "--workers", "1", *options) as d:
        rented = [rent(d, MIB), rent(d, MIB)]
        before = {key.name: key.read_bytes() for key in (tmp_path / "keys").glob("*.key")}

        assert d.cli("key", "rotate") == {"resealed": 2}

        after = {key.name: key.read_bytes() for key in (tmp_path / "keys").glob("*.key")}
        assert len(after) == 1
        assert not set(after.values()) & set(before.values())
        for each in rented:
            logged_in(d, each).close()
        with pytest.raises(LoginFailed):
            logged_in(d, rented[0] | {"chap": rented[1]["chap"] | {"user": "nobody"}})
    with daemon(tmp_path, "--workers", "1", *options) as again:
        logged_in(again, rented[0]).close()
    (key,) = (tmp_path / "keys").glob("*.key")
    key.rename(tmp_path / "aside")
    with (
        pytest.raises(RuntimeError, match="has secrets under a key that is not in"),
        daemon(tmp_path, "--workers", "1", *options),
    ):
        pass
    assert not list((tmp_path / "keys").glob("*.key"))
