"""Options, variables, file, defaults: who wins, and what a mistake is told."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.config import SETTINGS, Config, TargetAddress, load_config
from scsipub.errors import OperatorError
from scsipub.limits import MiB


@pytest.fixture
def write(tmp_path):
    def write_file(text: str) -> Path:
        file = tmp_path / "scsipub.toml"
        file.write_text(text)
        return file

    return write_file


def refusal(file: Path | None = None, environ=None, **options) -> str:
    with pytest.raises(OperatorError) as refused:
        load_config({"config": file, **options}, environ or {})
    return str(refused.value)


def test_nothing_said_gives_the_defaults(tmp_path):
    config = load_config({}, {"XDG_STATE_HOME": str(tmp_path)})

    assert config == Config(state_dir=tmp_path / "scsipub")
    assert config.port == 3260
    assert config.workers >= 1


def test_state_lives_in_the_home_directory_where_xdg_says_nothing_usable():
    """XDG base directories: a relative path is to be ignored."""
    config = load_config({}, {"XDG_STATE_HOME": "relative"})

    assert config.state_dir == Path.home() / ".local" / "state" / "scsipub"


def test_an_option_beats_a_variable_beats_the_file_beats_the_default(write):
    file = write("port = 1111\nworkers = 7\nweb_port = 4444")
    environ = {"SCSIPUB_PORT": "2222", "SCSIPUB_WORKERS": "8", "SCSIPUB_CONFIG": str(file)}

    config = load_config({"port": "3333"}, environ)

    assert (config.port, config.workers, config.web_port, config.tls_port) == (3333, 8, 4444, 3261)


def test_an_empty_variable_is_no_variable():
    assert load_config({}, {"SCSIPUB_PORT": ""}).port == 3260


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_can_be_said_in_three_places_and_names_the_place_when_refused(setting, write):
    wrong = "\x01"
    file = write(f'{setting.name} = "\\u0000"')

    if setting.name not in ("state_dir", "tls_cert", "tls_key", "tls_client_ca"):
        assert f"Option {setting.option} is" in refusal(**{setting.name: wrong})
        assert f"Variable {setting.variable} is" in refusal(environ={setting.variable: wrong})
    assert f"{file}: {setting.name} is" in refusal(file)


@pytest.mark.parametrize("port", [0, 65535])
def test_the_first_and_the_last_port_are_ports(port):
    assert load_config({"port": str(port)}, {}).port == port


@pytest.mark.parametrize("port", ["-1", "65536", "http", "", " ", "3260.0", "٣", True])
def test_what_is_no_port_is_refused_with_the_range(port):
    if port == "":
        return  # an empty option cannot be told from an absent one by a shell script; see the variable above
    assert "Use a whole number from 0 to 65535." in refusal(port=port)


def test_relative_paths_in_a_file_begin_at_the_file_and_others_where_we_stand(write, tmp_path, monkeypatch):
    file = write('state_dir = "state"')
    monkeypatch.chdir("/")

    assert load_config({"config": file}, {}).state_dir == tmp_path / "state"
    assert load_config({"state_dir": "state"}, {}).state_dir == Path("/state")


def test_a_misspelt_key_is_refused_with_a_suggestion(write):
    assert 'no setting called "prot".  Did you mean port?' in refusal(write("prot = 3260"))


def test_a_key_like_nothing_else_is_refused_with_what_is_known(write):
    assert "Known here: state_dir, host, port" in refusal(write("xyzzy = 1"))


def test_a_file_that_is_missing_or_not_toml_is_said_to_be(write, tmp_path):
    assert "cannot be read: No such file" in refusal(tmp_path / "none.toml")
    assert "is not TOML" in refusal(write("port = = 1"))


def test_hosts_come_as_a_list_or_with_commas(write):
    file = write('host = ["127.0.0.1", "::1"]')

    assert load_config({"config": file}, {}).host == ("127.0.0.1", "::1")
    assert load_config({"host": "127.0.0.1,[::1]"}, {}).host == ("127.0.0.1", "::1")


def test_discovery_gives_the_public_name_once_there_is_one():
    assert load_config({}, {}).target_address is TargetAddress.MIRROR
    assert load_config({"public_host": "disks.example:99"}, {}).target_address is TargetAddress.FIXED
    assert Config(public_host="disks.example").target_address is TargetAddress.FIXED
    assert "Set public_host" in refusal(target_address="fixed")


@pytest.mark.parametrize(
    "name", ["disks.example", "disks.example:1", "192.0.2.1:65535", "[2001:db8::1]:3260"]
)
def test_a_public_host_has_a_name_and_perhaps_a_port(name):
    assert load_config({"public_host": name}, {}).public_host == name


@pytest.mark.parametrize(
    "name", ["disks.example:0", "disks.example:65536", "2001:db8::1", "a b", "iscsi://a", ":1"]
)
def test_other_public_hosts_are_refused(name):
    assert "Use NAME or NAME:PORT" in refusal(public_host=name)


def test_tls_needs_both_files_and_a_port_needs_tls():
    assert "tls_key is not set" in refusal(tls_cert="c.pem")
    assert "tls_cert is not set" in refusal(tls_key="k.pem")
    assert "there is no certificate" in refusal(tls_client_ca="ca.pem")
    assert "no certificate" in refusal(tls_port="3261")


def test_portals_follow_from_hosts_and_ports():
    said = {"host": "127.0.0.1,::1", "port": "0", "tls_cert": "/c", "tls_key": "/k"}

    portals = load_config(said, {}).portals

    assert [(p.host, p.port, p.tls, p.target_address) for p in portals] == [
        ("127.0.0.1", 0, False, "mirror"),
        ("::1", 0, False, "mirror"),
        ("127.0.0.1", 3261, True, "omit"),
        ("::1", 3261, True, "omit"),
    ]


def test_portals_can_be_listed_each_with_its_own_answer(write):
    file = write("""
        public_host = "disks.example"
        [[portal]]
        host = "127.0.0.1"
        port = 9
        target_address = "mirror"
        [[portal]]
        host = "192.0.2.7"
    """)

    inside, outside = load_config({"config": file}, {}).portals

    assert (inside.host, inside.port, inside.target_address) == ("127.0.0.1", 9, TargetAddress.MIRROR)
    assert (outside.port, outside.target_address) == (3260, TargetAddress.FIXED)
    assert outside.public_host == "disks.example"


def test_listed_portals_and_a_port_contradict_each_other(write):
    assert "Both port and [[portal]] are set" in refusal(write("[[portal]]\nhost = '::1'"), port="1")


@pytest.mark.parametrize(
    ("portal", "said"),
    [
        ("port = 1", "has no host"),
        ("host = '::1'\ntls = true", "wants TLS"),
        ("host = '::1'\ntarget_address = 'fixed'", "no name was given"),
        ("host = '::1'\naddress = 'x'", 'no setting called "address"'),
    ],
)
def test_a_portal_that_cannot_be_is_refused(write, portal, said):
    assert said in refusal(write(f"[[portal]]\n{portal}"))


def test_limits_take_numbers_and_words(write):
    file = write('[limits]\ngrace_seconds = 0\nblank_bytes = "128 MiB"\nlogin_pdus = 5\nturn_seconds = 0.01')

    limits = load_config({"config": file}, {}).limits

    assert (limits.grace_seconds, limits.blank_bytes) == (0, 128 * MiB)
    assert (limits.login_pdus, limits.turn_seconds) == (5, 0.01)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("grace_seconds = -1", "at least 0"),
        ("grace_seconds = nan", "at least 0"),
        ("grace_seconds = inf", "at least 0"),
        ("login_pdus = 0", "at least 1"),
        ("login_pdus = 1.5", "at least 1"),
        ("login_pdus = true", "at least 1"),
        ("login_keys = 31", "at least 32"),
        ("blank_bytes = '64 parsecs'", "such as"),
        ("max_burst = 16777216", "to 16777215"),
        ("max_burst = 1024", "at most MaxBurstLength"),
        ("grace = 1", "Did you mean grace_seconds"),
    ],
)
def test_a_limit_out_of_range_is_refused(write, line, said):
    assert said in refusal(write(f"[limits]\n{line}"))


def test_a_refused_limit_says_what_it_is_for(write):
    assert "RFC 7143 defines fewer than 40" in refusal(write("[limits]\nlogin_keys = 1"))


def test_the_anonymous_budget_follows_the_limit_and_tiers_can_be_added(write):
    file = write('[limits]\noverlay_budget_bytes = "2 MiB"\n[tiers.home]\nallocation_budget = "20 GiB"')

    tiers = load_config({"config": file}, {}).tiers

    assert tiers["anonymous"].allocation_budget == 2 * MiB
    assert tiers["home"].allocation_budget == 20480 * MiB


def test_a_state_directory_too_long_for_a_socket_is_refused():
    """unix(7): a socket's path has at most 107 bytes."""
    room = 107 - len("/run/control.sock")

    assert load_config({"state_dir": "/" + "x" * (room - 1)}, {}).state_dir
    assert "too long for a Unix socket" in refusal(state_dir="/" + "x" * room)


@given(
    st.dictionaries(
        st.sampled_from([*(s.name for s in SETTINGS), "limits", "tiers", "target", "portal", "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=8,
        ),
    )
)
def test_any_nonsense_is_read_or_refused_in_words(monkeypatch_tomllib, table):
    """No mistake in a file may show its author a traceback."""
    try:
        monkeypatch_tomllib(table)
    except OperatorError as refused:
        assert str(refused)


@pytest.fixture(scope="module")
def monkeypatch_tomllib(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "any.toml"
    file.write_text("")
    with pytest.MonkeyPatch.context() as patch:
        yield lambda table: (
            patch.setattr("scsipub.config.load.tomllib.loads", lambda text: table),
            load_config({"config": file}, {}),
        )
