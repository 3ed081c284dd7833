"""Limits of a tier, met by real clients: they wait, nothing fails, and everybody else goes on."""

import re
import subprocess
import threading
import time

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.renting import logged_in, rent

pytestmark = pytest.mark.wire

MIB = 1 << 20
READ_10 = bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])


def slow(d: Daemon, **terms) -> None:
    d.ask("tier.put", name="slow", allocation_budget=64 * MIB, persistent=True, **terms)


def url(d: Daemon, rented: dict) -> str:
    return f"iscsi://{rented['chap']['user']}%{rented['chap']['secret']}@{d.iscsi}/{rented['name']}/0"


def test_a_tier_that_is_changed_slows_its_sessions_down_and_lets_them_go(tmp_path):
    """No session ends, no command fails; pings are answered while commands wait."""
    with daemon(tmp_path, "--workers", "2") as d:
        slow(d)
        rented = rent(d, 4 * MIB, tier="slow")
        with logged_in(d, rented) as who:
            who.read(0, 8)
            d.cli("tier", "set", "slow", "--iops", "2", "--iops-burst", "1")
            began = time.monotonic()
            tags = [who.start(READ_10, read=512) for _ in range(4)]
            for _ in range(3):
                asked = time.monotonic()
                who.ping(b"still there?")
                assert time.monotonic() - asked < 0.4
            assert time.monotonic() - began < 1.4
            for tag in tags:
                who.finish(tag).good()
            assert time.monotonic() - began > 1.3

            tags = [who.start(READ_10, read=512) for _ in range(8)]
            d.cli("tier", "set", "slow", "--iops", "0")
            freed = time.monotonic()
            for tag in tags:
                who.finish(tag).good()
            assert time.monotonic() - freed < 2.0
            assert who.max_cmd_sn - who.exp_cmd_sn + 1 == 32


def test_a_login_to_a_slow_target_opens_a_small_window(tmp_path):
    """One a second: so many at once as are answered in ten seconds, one session or several."""
    with daemon(tmp_path, "--workers", "1") as d:
        slow(d, iops=1, iops_burst=5)
        rented = rent(d, 4 * MIB, tier="slow")
        with logged_in(d, rented) as who:
            assert who.max_cmd_sn - who.exp_cmd_sn + 1 == 10
            with logged_in(d, rented, name="iqn.1993-08.org.debian:01:b") as other:
                assert other.max_cmd_sn - other.exp_cmd_sn + 1 == 5


def test_libiscsi_keeps_to_the_rate_with_a_deep_queue(tmp_path):
    """iscsi-perf: 32 in flight against 40 a second; the other target is as fast as ever."""
    with daemon(tmp_path, "--workers", "1") as d:
        slow(d, iops=40, iops_burst=1)
        rented = rent(d, 4 * MIB, tier="slow")
        free = rent(d, 4 * MIB)
        times = []

        def neighbour():
            with logged_in(d, free) as who:
                for _ in range(50):
                    began = time.monotonic()
                    who.read(0, 8)
                    times.append(time.monotonic() - began)

        thread = threading.Thread(target=neighbour)
        thread.start()
        done = subprocess.run(
            ["iscsi-perf", "-i", "iqn.1993-08.org.debian:01:p", "-m", "32", "-b", "8", "-t", "4", "-r",
             url(d, rented)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        thread.join()

    assert done.returncode == 0, done.stdout + done.stderr
    rates = [int(found) for found in re.findall(r"(?:iops average|IOPS average) (\d+)", done.stdout)]
    assert rates, done.stdout
    assert 25 <= rates[-1] <= 50
    assert sorted(times)[len(times) // 2] < 0.05


def test_qemu_writes_at_the_tiers_bandwidth(tmp_path):
    """4 MiB at 2 MiB a second, of which one second's worth is there at once."""
    with daemon(tmp_path, "--workers", "1") as d:
        slow(d, bytes_per_second=2 * MIB)
        rented = rent(d, 8 * MIB, tier="slow")
        image = (
            f"driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={d.iscsi},"
            f"file.target={rented['name']},file.lun=0,file.user={rented['chap']['user']},"
            f"file.password-secret=chap,file.initiator-name=iqn.2008-11.org.linux-kvm:tests"
        )
        secret = f"secret,id=chap,data={rented['chap']['secret']}"
        began = time.monotonic()
        done = subprocess.run(
            ["qemu-io", "--object", secret, "--image-opts", image, "-c", "write -P 0x5a 0 4M", "-c", "flush",
             "-c", "read -P 0x5a 0 4k"],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        took = time.monotonic() - began

    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout, done.stdout
    assert 0.9 < took < 20
