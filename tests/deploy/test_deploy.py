"""What ``docs/deploy/`` promises: units that systemd takes, and dashboards of numbers we have.

Source: systemd.exec(5), systemd-analyze(1), sysusers.d(5), tmpfiles.d(5)."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import cattrs
import pytest

from scsipub.config import load_config
from scsipub.web.metrics import text
from scsipub.web.models import Status

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"
SERVICES = sorted(DEPLOY.glob("*.service"))
MOST_EXPOSED = 20  # in tenths

STATUS = {
    "version": "1.2.3",
    "uptime_seconds": 1.0,
    "sessions": 0,
    "parked": 0,
    "images": 0,
    "counters": {
        **dict.fromkeys(("connections", "refused", "logins", "login_failures", "crashes"), 0),
        **dict.fromkeys(("bytes_read", "bytes_written", "operations"), 0),
        "malformed": {"login timeout": 1},
    },
    "workers": [
        {"index": 0, "state": "ready", "sessions": 0, "restarts": 0}
        | dict.fromkeys(("bytes_read", "bytes_written", "operations"), 0)
    ],
}


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def runnable(unit: Path, directory: Path) -> Path:
    """The unit as it is, but for a program that is there: nothing is installed in /opt while testing."""
    copy = directory / unit.name
    copy.write_text(re.sub(r"/opt/scsipub/bin/scsipub", "/bin/true", unit.read_text()))
    return copy


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_systemd_understands_every_line_of_the_unit(unit, tmp_path):
    checked = run("systemd-analyze", "verify", "--recursive-errors=no", runnable(unit, tmp_path))

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_systemd_finds_little_to_say_against_the_unit(unit, tmp_path):
    asked = ("systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}")

    assert run(*asked, runnable(unit, tmp_path)).returncode == 0


def test_the_bound_on_exposure_would_notice_a_unit_that_forbids_nothing(tmp_path):
    loose = tmp_path / "loose.service"
    loose.write_text("[Service]\nExecStart=/bin/true\n")

    checked = run("systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", loose)

    assert checked.returncode != 0


def test_the_user_of_the_unit_is_made_and_owns_what_it_needs(tmp_path):
    """sysusers.d(5), tmpfiles.d(5)."""
    (tmp_path / "etc").mkdir()

    made = run("systemd-sysusers", f"--root={tmp_path}", DEPLOY / "scsipub.sysusers")
    laid_out = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", DEPLOY / "scsipub.tmpfiles")

    assert (made.returncode, laid_out.returncode) == (0, 0), made.stderr + laid_out.stderr
    [user] = re.findall(r"^scsipub:x:(\d+):", (tmp_path / "etc" / "passwd").read_text(), re.M)
    state = (tmp_path / "var" / "lib" / "scsipub").stat()
    assert (state.st_uid, state.st_mode & 0o777) == (int(user), 0o700)
    assert (tmp_path / "etc" / "scsipub" / "tls").stat().st_mode & 0o777 == 0o750


def test_the_settings_of_the_example_are_settings(tmp_path):
    config = load_config({"config": DEPLOY / "scsipub.toml", "state_dir": tmp_path}, {})

    assert config.public_host == tomllib.loads((DEPLOY / "scsipub.toml").read_text())["public_host"]


def expressions() -> list[str]:
    board = json.loads((DEPLOY / "grafana.json").read_text())
    alerts = re.findall(r"^ +expr: (.+)$", (DEPLOY / "alerts.yml").read_text(), re.M)
    return [target["expr"] for panel in board["panels"] for target in panel["targets"]] + alerts


@pytest.mark.parametrize("expression", expressions())
def test_dashboard_and_alerts_ask_for_numbers_that_are_there(expression):
    there = text(cattrs.structure(STATUS, Status)).decode()

    asked = re.findall(r"\bscsipub_\w+", expression)

    assert asked or expression.startswith("up{")
    assert [name for name in asked if not re.search(rf"^{name}[{{ ]", there, re.M)] == []


def test_the_container_copies_what_is_there():
    words = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Containerfile").read_text(), re.M)

    assert [name for line in words for name in line.split() if not (DEPLOY.parents[1] / name).exists()] == []
