"""What the network must bring: a daemon that answers, ports free or held by it, a TLS pair that fits."""

import contextlib
import datetime
import errno
import os
import socket
import ssl
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cryptography import x509

from scsipub import __version__
from scsipub.cli.daemon import DaemonAbsent, ask
from scsipub.cli.findings import Finding, bad, note, ok
from scsipub.cli.show import duration
from scsipub.config import Config, Portal
from scsipub.errors import OperatorError

_SOON = datetime.timedelta(days=14)


def check_daemon(config: Config) -> tuple[list[Finding], Mapping[str, Any] | None]:
    """Whether the daemon answers, and what it said."""
    subject = "daemon"
    try:
        status = ask(config, "status")
    except DaemonAbsent as absent:
        return [note(subject, absent.what.rstrip("."), absent.do)], None
    except OperatorError as error:
        return [bad(subject, error.what.rstrip("."), error.do)], None
    findings = []
    if status.get("version") != __version__:
        version = status.get("version")
        findings.append(
            note(subject, f"it is version {version}, this command {__version__}", "Restart the daemon.")
        )
    for worker in status.get("workers", []):
        if worker.get("restarts"):
            said = f"worker {worker.get('index')} was restarted {worker['restarts']} times"
            findings.append(note(subject, said, "Its log says why each one ended."))
    if config.control_socket.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        findings.append(
            bad(subject, "others may open the control socket", f"chmod 600 {config.control_socket}")
        )
    up = duration(status.get("uptime_seconds"))
    return [ok(subject, f"up {up}, {status.get('sessions', 0)} sessions"), *findings], status


def check_ports(config: Config, status: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Each port is free, or held by our own daemon."""
    web = Portal(host="127.0.0.1", port=config.web_port)
    ours = _ports_of(status)
    for portal, what in [*((p, "TLS" if p.tls else "iSCSI") for p in config.portals), (web, "web")]:
        subject = f"{what} port {portal.port}"
        if portal.port == 0:
            yield ok(f"{what} port", "a free one will be picked")
        elif portal.port in ours:
            yield ok(subject, "held by our daemon")
        else:
            yield _try_port(portal, subject)


def _ports_of(status: Mapping[str, Any] | None) -> set[int]:
    listeners = (status or {}).get("listeners") or {}
    ends = [str(address).rpartition(":")[2] for address in listeners.values() if address]
    return {int(end) for end in ends if end.isdigit()}


def _try_port(portal: Portal, subject: str) -> Finding:
    where = f"{portal.host}:{portal.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            portal.host, portal.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the daemon does it: a connection that lingers after a restart does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            holder = who_listens(portal.port)
            return bad(
                subject, f"{where} is taken by {holder or 'another program'}", "Stop it, or use another port."
            )
        if error.errno == errno.EACCES:
            return bad(
                subject, f"we may not listen on {where}", "Ports below 1024 want CAP_NET_BIND_SERVICE."
            )
        if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
            return bad(subject, f"{portal.host} is no address of this machine", "`ip address` lists them.")
        return bad(subject, f"{where}: {error.strerror}", "Use another address or port.")
    return ok(subject, f"{where} is free")


def who_listens(port: int, proc: Path = Path("/proc")) -> str | None:
    """The program that listens on a TCP port, as far as we may see.  proc(5), net/tcp."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for process in proc.iterdir() if inodes else ():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir()):
                    return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return None


def check_tls(config: Config, now: datetime.datetime) -> Iterator[Finding]:
    """Certificate and key belong together, are private where they must be, and last a while."""
    subject = "TLS"
    if config.tls_cert is None or config.tls_key is None:
        yield ok(subject, "off: no certificate is set")
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(config.tls_cert, config.tls_key)
        certificate = x509.load_pem_x509_certificate(config.tls_cert.read_bytes())
    except ssl.SSLError as error:
        yield bad(subject, f"certificate and key do not work together: {error.reason}", "Check both files.")
        return
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        yield bad(subject, f"certificate or key cannot be read: {why}", "Check tls_cert and tls_key.")
        return
    if config.tls_key.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        yield note(subject, "others may read the private key", f"chmod 600 {config.tls_key}")
    ends = certificate.not_valid_after_utc
    if ends < now or certificate.not_valid_before_utc > now:
        yield bad(
            subject, f"the certificate is good from {certificate.not_valid_before_utc} to {ends}", "Renew it."
        )
    elif ends < now + _SOON:
        yield note(subject, f"the certificate ends on {ends:%Y-%m-%d}", "Renew it.")
    else:
        yield ok(subject, f"the pair fits and is good until {ends:%Y-%m-%d}")
