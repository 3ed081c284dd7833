"""scsipub/connect/steps.py"""

import shlex

from scsipub.connect.steps import Steps, shown

PLAIN = Steps("iqn.2025-01.pub.scsipub:blank", "127.0.0.1:3260")


def words(commands):
    return [" ".join(command[7:]) for command in commands]


def test_a_record_is_made_without_discovery_and_logged_in_to():
    assert words(PLAIN.begin()) == ["-o new", "-o update -n node.startup -v manual", "--login"]
    for command in PLAIN.begin() + PLAIN.end():
        assert command[:7] == ("iscsiadm", "-m", "node", "-T", PLAIN.target, "-p", PLAIN.portal)


def test_nothing_stays_behind():
    assert words(PLAIN.end()) == ["--logout", "-o delete"]


def test_a_user_is_told_between_the_record_and_the_login():
    said = words(Steps(PLAIN.target, PLAIN.portal, "alice", "twelve letters").begin())

    assert said[-1] == "--login"
    assert said[2:-1] == [
        "-o update -n node.session.auth.authmethod -v CHAP",
        "-o update -n node.session.auth.username -v alice",
        "-o update -n node.session.auth.password -v twelve letters",
    ]


def test_a_secret_is_not_shown():
    assert "twelve letters" not in repr(Steps(PLAIN.target, PLAIN.portal, "alice", "twelve letters"))


def test_commands_are_shown_as_a_shell_reads_them():
    steps = Steps("iqn.2025-01.org.example:it's", PLAIN.portal, "alice")

    for command in steps.begin():
        assert tuple(shlex.split(shown(command))) == command
    assert any('"$SECRET"' in shown(command) for command in steps.begin())
