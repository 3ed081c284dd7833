"""The whole way: a target, cases, a find, its program and its pcap; and our own daemon without any."""

import json
import subprocess
import sys

import pytest

from fuzz.__main__ import main
from fuzz.find import Record

pytestmark = pytest.mark.wire


def test_in_tgt_something_is_found_and_its_program_shows_it_by_hand(tmp_path, capsys):
    """Debian's tgt 1.0.85 says ExpDataSN 0 after Data-In, RFC 7143 §11.4.8: a READ is enough to see it."""
    out = tmp_path / "out"

    ended = main(
        ["run", "tgt", "--pdus", "250", "--seed", "5", "--patience", "1", "--shrinking", "1", "--json",
         "--out", str(out)]
    )  # fmt: skip

    report = json.loads(capsys.readouterr().out)
    assert ended == 1
    found = {find["kind"]: find for find in report["finds"]}
    counted = found["ExpDataSN"]
    assert counted["by_hand"] is True
    assert counted["again"] is True
    assert (out / f"{counted['files']}.pcap").stat().st_size > 500
    assert Record.read(out / f"{counted['files']}.json").kind == "ExpDataSN"
    assert "ExpDataSN" in (out / "report.md").read_text()
    source = (out / f"{counted['files']}.py").read_text()
    assert "import scsipub" not in source
    assert "from fuzz" not in source
    assert main(["replay", str(out / f"{counted['files']}.json"), "tgt"]) == 1


def test_in_our_daemon_nothing_is_found(tmp_path, capsys):
    ended = main(["run", "scsipub", "--pdus", "1500", "--lanes", "3", "--json", "--out", str(tmp_path)])

    report = json.loads(capsys.readouterr().out)
    assert [(find["kind"], find["what"]) for find in report["finds"]] == []
    assert ended == 0
    assert report["pdus"] >= 1500
    assert report["lanes"] == 3
    assert (report["begun_anew"], report["workers_restarted"]) == (0, 0)
    assert min(report["memory_bytes"]) > 1 << 20


def test_lanes_at_a_target_of_somebody_else_are_refused(capsys):
    """They would write over one another's blocks."""
    assert main(["run", "iscsi://127.0.0.1:1/iqn.2025-01.pub.scsipub:x/0", "--lanes", "2"]) == 2
    assert "several lanes need a unit each" in capsys.readouterr().err


def test_a_target_that_is_not_there_is_said_so(capsys):
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "run", "http://x"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "iscsi://host:port/iqn/lun" in done.stderr
