"""Rented targets over the wire: sessions that share one, suspend and resume, growth, removal, fences.

Source: SPC-4 §5.13.5.  What survives which end is in ``test_outliving``."""

import json
import os

import pytest

from tests.support.daemon import daemon, start
from tests.support.initiator import LoginFailed
from tests.support.renting import MIB, kill_all, logged_in, pattern, rent


def test_two_sessions_share_the_disk_whichever_worker_they_land_in(tmp_path):
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, 16 * MIB)
        sessions = [
            logged_in(d, rented, name=f"iqn.1993-08.org.debian:01:{n}", isid=bytes([128, 0, 0, 0, 0, n]))
            for n in range(4)
        ]
        sessions[0].write(0, pattern(3))

        assert {session.read(0, 128) for session in sessions} == {pattern(3)}
        assert len({said["worker"] for said in d.ask("session.list")}) == 1
        for session in sessions:
            session.close()


def test_a_wrong_secret_does_not_get_in(tmp_path):
    with daemon(tmp_path, "--workers", "1") as d:
        rented = rent(d, MIB)
        other = rented | {"chap": rented["chap"] | {"secret": "x" * 16}}

        with pytest.raises(LoginFailed) as refused:
            logged_in(d, other)

        assert refused.value.status == 0x0201


def test_a_suspended_target_sends_its_sessions_away_and_takes_them_back(tmp_path):
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, MIB)
        with logged_in(d, rented) as who:
            who.write(0, pattern(4))
            d.cli("target", "suspend", rented["id"], "--reason", "unpaid")
            assert who.closed_by_target()
        with pytest.raises(LoginFailed) as refused:
            logged_in(d, rented)
        assert refused.value.status == 0x0202

        d.cli("target", "resume", rented["name"])

        with logged_in(d, rented) as who:
            assert who.read(0, 128) == pattern(4)


def test_a_destroyed_target_leaves_nothing(tmp_path):
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, MIB, MIB)
        with logged_in(d, rented) as who:
            who.write(0, pattern(5))
            d.cli("target", "destroy", rented["id"])
            assert who.closed_by_target()

        with pytest.raises(LoginFailed) as refused:
            logged_in(d, rented)
        assert refused.value.status == 0x0203
        assert [file for file in os.listdir(tmp_path / "overlays") if file.startswith("t-")] == []
        assert d.cli("target", "list") == []


def test_a_fence_holds_after_a_kill(tmp_path, options):
    """SPC-4 §5.13.5: PERSISTENT RESERVE OUT ended with GOOD, so it is in force after a restart."""
    d = start(tmp_path, "--workers", "2", *options)
    rented = rent(d, MIB)
    key = (0xABCDEF).to_bytes(8, "big")
    with logged_in(d, rented) as who:
        register = bytes(8) + key + bytes(8)
        assert who.command(bytes([0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0]), write=register).status == 0
        reserve = key + bytes(16)
        assert who.command(bytes([0x5F, 1, 1, 0, 0, 0, 0, 0, 24, 0]), write=reserve).status == 0
        kill_all(d)

    with daemon(tmp_path, "--workers", "2", *options) as again:
        with logged_in(again, rented, name="iqn.1993-08.org.debian:01:other") as stranger:
            refused = stranger.command(bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]), write=bytes(512))
            assert refused.status == 0x18  # RESERVATION CONFLICT
        with logged_in(again, rented) as holder:
            holder.write(0, bytes(512))
            keys = holder.command(bytes([0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0]), read=64).data
            assert keys[8:16] == key


def test_what_is_typed_to_rent_is_answered_with_what_to_type_next(tmp_path):
    with daemon(tmp_path, "--workers", "1") as d:
        d.cli("tier", "set", "home", "--budget", "64 MiB", "--luns", "2")
        d.cli("tenant", "create", "ada", "--tier", "home")
        rented = d.cli("target", "create", "ada", "--size", "1 MiB", "--lifetime", "1h", "--mutual")

        assert set(rented["commands"]) == {"open-iscsi", "qemu", "ipxe", "powershell"}
        assert all(rented["chap"]["secret"] in command for command in rented["commands"].values())
        assert rented["chap"]["secret"] not in json.dumps(d.cli("target", "list"))
        assert rented["chap"]["secret"] not in json.dumps(d.cli("target", "show", rented["id"]))
