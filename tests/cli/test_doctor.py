"""What the doctor says about setups that are well, and about each way to be ill."""

import datetime
import json
import os
import socket

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scsipub import __version__
from scsipub.cli import checks_host, checks_net, cli
from scsipub.config import Config, Portal, load_config
from scsipub.limits import Limits
from scsipub.storage.hostfs import mount_of
from tests.support.control import control

NOON = datetime.datetime(2025, 6, 1, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def said(findings) -> list[tuple[str, str]]:
    return [(finding.verdict.value, finding.said) for finding in findings]


def only(findings) -> tuple[str, str]:
    (one,) = said(findings)
    return one


@pytest.fixture
def doctor(tmp_path):
    def run(*words: str):
        state = ("--state-dir", str(tmp_path / "state"), "--port", "0", "--web-port", "0")
        return CliRunner().invoke(cli, ["doctor", *state, *words], catch_exceptions=False)

    return run


def test_a_fresh_setup_is_healthy(doctor):
    examined = doctor("--json")
    answer = json.loads(examined.stdout)

    assert {finding["verdict"] for finding in answer["findings"]} <= {"ok", "note"}
    assert answer["ok"] is True
    assert examined.exit_code == 0


def test_the_table_says_what_to_do(doctor):
    shown = doctor()

    assert "No daemon is running" in shown.output
    assert "scsipub serve" in shown.output


def test_an_unreadable_configuration_is_a_finding_and_the_exit_code_says_so(doctor):
    examined = doctor("--workers", "none")

    assert examined.exit_code == 1
    assert 'Option --workers is "none"' in examined.output


def test_a_daemon_that_answers_is_looked_at(doctor, tmp_path):
    status = {
        "version": __version__,
        "uptime_seconds": 60,
        "sessions": 2,
        "workers": [{"index": 0, "restarts": 3}],
    }
    (tmp_path / "state").mkdir(mode=0o700)
    with control(tmp_path / "state", {"status": lambda params: status}):
        output = doctor().output

    assert "up 1m, 2 sessions" in output
    assert "worker 0 was restarted 3 times" in output


def test_a_daemon_of_another_version_or_with_an_open_socket_is_noticed(tmp_path):
    config = Config(state_dir=tmp_path)
    with control(tmp_path, {"status": lambda params: {"version": "0.0.1"}}):
        config.control_socket.chmod(0o666)
        findings, _ = checks_net.check_daemon(config)

    assert [finding.verdict.value for finding in findings] == ["ok", "note", "bad"]


def test_a_state_directory_others_may_write_is_bad(tmp_path):
    tmp_path.chmod(0o777)

    assert ("bad", f"{tmp_path} can be written by others") in said(checks_host.check_state_dir(tmp_path))


def test_a_state_directory_that_is_a_file_is_bad(tmp_path):
    (tmp_path / "file").touch()

    assert only(checks_host.check_state_dir(tmp_path / "file")) == ("bad", f"{tmp_path}/file is not a folder")


EXT4 = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


@pytest.mark.parametrize(
    ("line", "verdict", "said"),
    [
        (EXT4, "ok", "keeps what it promises"),
        (EXT4.replace("sda1 rw", "sda1 rw,data=writeback"), "bad", "data=writeback"),
        (EXT4.replace("sda1 rw", "sda1 rw,nobarrier"), "bad", "without barriers"),
        (EXT4.replace("ext4", "nfs4"), "bad", "another machine"),
        (EXT4.replace("ext4", "tmpfs"), "note", "would not survive"),
        (EXT4.replace("ext4", "overlay"), "note", "overlay file system"),
    ],
)
def test_a_file_system_whose_flushes_may_mean_nothing_is_said(line, verdict, said):
    """What ``storage.hostfs`` doubts reaches the operator, with what to do."""
    (finding,) = checks_host.check_promises(mount_of(line, "/srv/scsipub"))

    assert (finding.verdict, said in finding.said) == (verdict, True)
    assert bool(finding.do) == (verdict != "ok")


def test_the_doctor_looks_at_the_mount_of_the_state_directory(tmp_path):
    found = list(checks_host.check_state_dir(tmp_path))

    assert {"file system", "flushes"} <= {finding.subject for finding in found}


def test_space_below_the_reserve_is_bad_and_just_above_it_a_note(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize

    def verdict(reserve: int) -> str:
        return only(
            checks_host.check_space(Config(state_dir=tmp_path, limits=Limits(pool_reserve_bytes=reserve)))
        )[0]

    assert verdict(free * 2) == "bad"
    assert verdict(free - free // 10**6) == "note"
    assert verdict(0) in ("ok", "note")


@pytest.mark.parametrize(("limit", "verdict"), [(16383, "note"), (16384, "ok"), (-1, "ok")])
def test_few_descriptors_are_a_note(limit, verdict):
    assert only(checks_host.check_descriptors(limit))[0] == verdict


@pytest.mark.parametrize(
    ("meminfo", "verdict"),
    [("MemAvailable: 524287 kB", "note"), ("MemAvailable:  524288 kB", "ok"), ("MemTotal: 1 kB", "note")],
)
def test_memory_is_held_against_the_number_of_workers(meminfo, verdict):
    assert only(checks_host.check_memory(2, meminfo))[0] == verdict


def test_a_clock_in_the_past_is_bad(tmp_path):
    now = tmp_path.stat().st_mtime

    assert only(checks_host.check_clock(1, tmp_path))[0] == "bad"
    assert only(checks_host.check_clock(now - 61, tmp_path))[0] == "bad"
    assert only(checks_host.check_clock(now, tmp_path))[0] == "ok"


def test_a_misspelt_variable_is_noticed():
    environ = {"SCSIPUB_PROT": "1", "SCSIPUB_PORT": "1", "SCSIPUB_CONFIG": "x", "PATH": "/"}

    assert only(checks_host.check_variables(environ)) == ("note", "SCSIPUB_PROT means nothing to us")


def test_secrets_that_others_may_read_and_windows_cannot_use_are_noticed(tmp_path):
    file = tmp_path / "scsipub.toml"
    file.write_text("""
        [[target]]
        name = "a"
        luns = [{ image = "none" }]
        users = [{ user = "u", secret = "seventeen-letters" }]
    """)
    file.chmod(0o644)
    config = load_config({"config": file}, {"XDG_STATE_HOME": str(tmp_path)})

    assert [verdict for verdict, _ in said(checks_host.check_secrets_file(file, config))] == ["bad", "note"]
    file.chmod(0o600)
    assert [verdict for verdict, _ in said(checks_host.check_secrets_file(file, config))] == ["note"]


def test_an_image_a_target_wants_must_be_there(doctor, tmp_path):
    file = tmp_path / "scsipub.toml"
    file.write_text('[[target]]\nname = "a"\nluns = [{ image = "none" }]')

    examined = doctor("--config", str(file))

    assert examined.exit_code == 1
    assert "wants the image none, and there is none" in examined.output


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def portals(config: Config, status=None) -> dict[str, tuple[str, str]]:
    return {f.subject: (f.verdict.value, f.said) for f in checks_net.check_ports(config, status)}


def test_a_port_somebody_else_holds_is_bad_and_named(taken):
    verdict, words = portals(Config(host=("127.0.0.1",), port=taken, web_port=0))[f"iSCSI port {taken}"]

    assert verdict == "bad"
    assert f"(pid {os.getpid()})" in words


def test_a_port_our_daemon_holds_is_well(taken):
    status = {"listeners": {"iscsi": f"127.0.0.1:{taken}", "tls": None}}

    found = portals(Config(host=("127.0.0.1",), port=taken, web_port=0), status)

    assert found[f"iSCSI port {taken}"] == ("ok", "held by our daemon")


def test_an_address_that_is_not_ours_is_bad():
    config = Config(listed_portals=(Portal(host="192.0.2.1", port=3260),), web_port=0)

    assert portals(config)["iSCSI port 3260"] == ("bad", "192.0.2.1 is no address of this machine")


@pytest.fixture
def pair(tmp_path):
    """Writes a certificate good from noon minus a day to ``ends``, and its key."""

    def write(ends: datetime.datetime) -> Config:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "disks.example")])
        builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        certificate = builder.not_valid_before(NOON - DAY).not_valid_after(ends).sign(key, hashes.SHA256())
        (tmp_path / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (tmp_path / "k.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        (tmp_path / "k.pem").chmod(0o600)
        return Config(tls_cert=tmp_path / "c.pem", tls_key=tmp_path / "k.pem")

    return write


def test_without_a_certificate_tls_is_off():
    assert only(checks_net.check_tls(Config(), NOON)) == ("ok", "off: no certificate is set")


@pytest.mark.parametrize(("days", "verdict"), [(30, "ok"), (14, "ok"), (13, "note"), (-0.5, "bad")])
def test_a_certificate_is_good_for_a_while(pair, days, verdict):
    assert only(checks_net.check_tls(pair(NOON + days * DAY), NOON))[0] == verdict


def test_a_key_others_may_read_is_noticed(pair):
    config = pair(NOON + 30 * DAY)
    config.tls_key.chmod(0o644)

    assert ("note", "others may read the private key") in said(checks_net.check_tls(config, NOON))


def test_files_that_do_not_fit_or_are_missing_are_bad(pair, tmp_path):
    config = pair(NOON + 30 * DAY)
    other = pair(NOON + 30 * DAY).tls_key.rename(tmp_path / "other.pem")
    config = pair(NOON + 30 * DAY)

    for key in (other, tmp_path / "missing.pem", config.tls_cert):
        unfit = Config(tls_cert=config.tls_cert, tls_key=key)
        assert only(checks_net.check_tls(unfit, NOON))[0] == "bad"
