"""The state directory: private, and one daemon's at a time."""

import json
import os
import stat

import pytest

from scsipub.config import Config
from scsipub.control.state import StateDir
from scsipub.errors import OperatorError


@pytest.fixture
def config(tmp_path):
    return Config(state_dir=tmp_path / "deep" / "state")


def test_it_is_made_with_everything_in_it_and_nobody_else_may_look(config):
    state = StateDir(config)
    state.open()

    for directory in (config.state_dir, config.overlays_dir, config.run_dir, config.images_dir):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    state.close()


def test_an_install_stays_the_same_from_start_to_start(config, tmp_path):
    identities = []
    for where in (config, config, Config(state_dir=tmp_path / "other")):
        state = StateDir(where)
        identities.append(state.open())
        state.close()

    assert identities[0] == identities[1] != identities[2]
    assert len(identities[0]) == 32


def test_a_second_daemon_is_refused_in_plain_words(config):
    first = StateDir(config)
    first.open()
    with pytest.raises(OperatorError, match="Another daemon runs on"):
        StateDir(config).open()
    first.close()

    again = StateDir(config)
    again.open()
    again.close()


def test_the_refused_daemon_leaves_the_other_ones_files_alone(config):
    first = StateDir(config)
    first.open()
    first.announce({"iscsi": "127.0.0.1:3260"})
    with pytest.raises(OperatorError):
        StateDir(config).open()

    assert json.loads(config.endpoints_file.read_text()) == {"iscsi": "127.0.0.1:3260"}
    first.close()
    assert not config.endpoints_file.exists()


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(config, mode):
    config.state_dir.mkdir(parents=True)
    os.chmod(config.state_dir, mode)

    with pytest.raises(OperatorError, match="chmod 0700"):
        StateDir(config).open()


def test_a_directory_of_somebody_else_is_refused(config, monkeypatch):
    config.state_dir.mkdir(parents=True)
    config.state_dir.chmod(0o700)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)

    with pytest.raises(OperatorError, match="chown"):
        StateDir(config).open()


def test_a_directory_that_cannot_be_made_is_refused_in_plain_words(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(OperatorError, match="cannot be made"):
        StateDir(Config(state_dir=tmp_path / "file" / "state")).open()


def test_what_is_announced_is_there_whole_or_not_at_all(config):
    state = StateDir(config)
    state.open()
    state.announce({"a": 1})
    state.announce({"b": 2})

    assert json.loads(config.endpoints_file.read_text()) == {"b": 2}
    assert [p.name for p in config.run_dir.iterdir() if p.name.startswith(".")] == []
    state.close()
