"""The commands against a control socket that is real and a daemon that is not."""

import json
import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from scsipub.cli import COMMANDS, cli
from supervisor.channel import CallError
from tests.support.control import control

STATUS = {
    "version": "0.1.0",
    "uptime_seconds": 3723,
    "listeners": {"iscsi": "127.0.0.1:3260", "tls": None, "web": "127.0.0.1:4000"},
    "pids": {"control": 10, "workers": [11, 12]},
    "workers": [{"index": 0, "incarnation": 1, "pid": 11, "state": "up", "sessions": 3, "restarts": 0}],
    "sessions": 3,
    "parked": 1,
    "counters": {"logins": 7, "malformed": {"bad_opcode": 2}, "bytes_read": 1536},
    "images": 2,
    "state_dir": "/var/lib/scsipub",
}
SESSION = {
    "id": "a1b2c3",
    "worker": 0,
    "initiator": "iqn.1993-08.org.debian:01:abc",
    "target": "iqn.2025-01.pub.scsipub:blank",
    "source": "192.0.2.1:40000",
    "since": "2025-06-01T12:00:00+00:00",
    "tls": False,
    "bytes_read": 1048576,
    "bytes_written": 0,
    "operations": 9,
    "iops": 12.4,
    "last_error": None,
}


@pytest.fixture
def run(tmp_path):
    def run_command(*words: str):
        return CliRunner().invoke(cli, [*words, "--state-dir", str(tmp_path)], catch_exceptions=False)

    return run_command


def test_status_is_readable(run, tmp_path):
    with control(tmp_path, {"status": lambda params: STATUS}):
        shown = run("status")

    assert shown.exit_code == 0
    assert "up 1h 2m, pid 10" in shown.output
    assert "iscsi 127.0.0.1:3260, web 127.0.0.1:4000" in shown.output
    assert "malformed: bad_opcode" in shown.output
    assert "1.5 KiB" in shown.output


def test_json_is_what_the_daemon_said(run, tmp_path):
    with control(tmp_path, {"status": lambda params: STATUS}):
        assert json.loads(run("status", "--json").stdout) == STATUS


def test_a_status_of_another_version_is_shown_as_far_as_it_goes(run, tmp_path):
    with control(tmp_path, {"status": lambda params: {}}):
        assert run("status").exit_code == 0


def test_sessions_are_listed_with_whole_names(run, tmp_path):
    with control(tmp_path, {"session.list": lambda params: [SESSION]}):
        shown = run("session", "list")

    for words in ("a1b2c3", SESSION["initiator"], SESSION["target"], "192.0.2.1:40000", "1 MiB"):
        assert words in shown.output


def test_nobody_connected_is_said_so(run, tmp_path):
    with control(tmp_path, {"session.list": lambda params: []}):
        assert "Nobody is connected." in run("session", "list").output
        assert json.loads(run("session", "list", "--json").stdout) == []


def test_what_strangers_call_themselves_cannot_steer_the_terminal(run, tmp_path):
    session = SESSION | {"initiator": "iqn.\x1b[2J[bold]evil[/bold]", "last_error": "\x07"}
    with control(tmp_path, {"session.list": lambda params: [session]}):
        output = run("session", "list").output

    assert "\x1b" not in output
    assert "\x07" not in output
    assert "[bold]evil[/bold]" in output


def test_kick_takes_the_first_characters_and_sends_the_id_as_the_daemon_wrote_it(run, tmp_path):
    sessions = [SESSION, SESSION | {"id": 77}]
    answers = {"session.list": lambda params: sessions, "session.kick": lambda params: {}}
    with control(tmp_path, answers) as asked:
        assert run("session", "kick", "a1").exit_code == 0
        assert run("session", "kick", "77").exit_code == 0

    assert [params for method, params in asked if method == "session.kick"] == [{"id": "a1b2c3"}, {"id": 77}]


@pytest.mark.parametrize(
    ("identity", "said"), [("zz", "There is no session zz"), ("a", "2 sessions begin with a")]
)
def test_kick_refuses_who_is_not_there_or_not_meant_clearly(run, tmp_path, identity, said):
    sessions = [SESSION, SESSION | {"id": "a9"}]
    answers = {"session.list": lambda params: sessions, "session.kick": lambda params: {}}
    with control(tmp_path, answers) as asked:
        refused = run("session", "kick", identity)

    assert refused.exit_code == 1
    assert said in refused.stderr
    assert asked == [("session.list", {})]


def test_an_id_that_is_the_beginning_of_another_can_be_meant(run, tmp_path):
    sessions = [SESSION | {"id": "a"}, SESSION | {"id": "ab"}]
    answers = {"session.list": lambda params: sessions, "session.kick": lambda params: {}}
    with control(tmp_path, answers) as asked:
        assert run("session", "kick", "a").exit_code == 0

    assert asked[-1] == ("session.kick", {"id": "a"})


def test_the_janitor_says_what_it_swept(run, tmp_path):
    with control(tmp_path, {"janitor.run": lambda params: {"swept": ["x.data"], "kept": 4}}):
        assert "1 swept, 4 kept." in run("janitor", "run").output
        assert json.loads(run("janitor", "run", "--json").stdout) == {"swept": ["x.data"], "kept": 4}


def test_a_restart_says_how_many_were_replaced(run, tmp_path):
    with control(tmp_path, {"worker.restart": lambda params: {"restarted": 1, "workers": 2}}):
        assert "1 of 2 workers" in run("restart").output
        assert json.loads(run("restart", "--json").stdout) == {"restarted": 1, "workers": 2}


def no(code: str, message: str, data=None):
    def refuse(params):
        raise CallError(code, message, data)

    return refuse


def test_a_refusal_of_the_daemon_is_told_in_its_words(run, tmp_path):
    with control(tmp_path, {"status": no("busy", "Not now.", {"do": "Wait a minute."})}):
        refused = run("status")

    assert refused.exit_code == 1
    assert refused.stderr == "scsipub: Not now.\n  Wait a minute.\n"


def test_a_daemon_of_another_version_is_recognized(run, tmp_path):
    with control(tmp_path, {}):
        assert "does not know status" in run("status").stderr


def test_a_bug_in_the_daemon_is_no_traceback_here(run, tmp_path):
    with control(tmp_path, {"status": lambda params: 1 // 0}):
        refused = run("status")

    assert refused.exit_code == 1
    assert "That is a bug" in refused.stderr


@pytest.mark.parametrize(
    "words", [("status",), ("session", "list"), ("session", "kick", "1"), ("janitor", "run")]
)
def test_without_a_daemon_the_way_to_start_one_is_told(run, words):
    refused = run(*words)

    assert refused.exit_code == 1
    assert "No daemon is running" in refused.stderr
    assert "scsipub serve" in refused.stderr


def test_with_json_the_refusal_is_json_too(run):
    refused = run("status", "--json")

    assert refused.exit_code == 1
    assert "No daemon is running" in json.loads(refused.stdout)["error"]["what"]


def test_a_socket_left_behind_is_told_from_a_daemon(run, tmp_path):
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "run" / "control.sock"))

    assert "has ended without cleaning up" in run("status").stderr


def test_help_names_every_setting_with_its_variable():
    shown = CliRunner().invoke(cli, ["serve", "--help"]).output

    for words in ("--public-host", "SCSIPUB_TLS_CERT", "3260", "--log-format"):
        assert words in shown


def test_the_daemon_is_started_without_the_other_commands():
    """What it loads, it waits for: a start with thousands of targets has a time to keep."""
    code = (
        "import sys; from scsipub.cli import cli;"
        "cli(['serve', '--help'], standalone_mode=False); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )

    loaded = {name for name in done.stdout.split() if name.startswith("scsipub.cli.")}
    assert loaded == {"scsipub.cli.serve", "scsipub.cli.options"}


def test_every_command_is_found_where_the_table_says(tmp_path):
    shown = CliRunner().invoke(cli, ["--help"])

    assert shown.exit_code == 0
    assert all(f"  {name} " in shown.output for name in COMMANDS)
    assert CliRunner().invoke(cli, ["nonsense"]).exit_code == 2
