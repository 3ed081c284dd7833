"""Caddy with the Caddyfile of docs/deploy and certificates of its own, internal authority.

    with caddy(tmp_path, web="127.0.0.1:4000") as proxy:
        proxy.address, proxy.authority, proxy.certificates

On loopback, with all of its files in one directory."""

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.support.daemon import REPOSITORY
from tests.support.eventually import eventually
from tests.support.ports import quiet_port

# Certificates by Caddy's internal authority; its ports are ours to choose, and nothing is installed anywhere.
GLOBALS = """{
	admin off
	local_certs
	skip_install_trust
	auto_https disable_redirects
}
import %s
"""


@attrs.frozen
class Proxy:
    """A running Caddy.  ``certificates`` is where it keeps what it obtains."""

    address: str
    authority: Path
    certificates: Path
    process: "subprocess.Popen[bytes]"


@contextlib.contextmanager
def caddy(place: Path, web: str, host: str = "localhost") -> Iterator[Proxy]:
    """Up as soon as it has a certificate for ``host`` and serves it."""
    port, data = quiet_port(), place / "data"
    file = place / "Caddyfile"
    file.write_text(GLOBALS % (REPOSITORY / "docs" / "deploy" / "Caddyfile"))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(place),
        "XDG_DATA_HOME": str(data),
        "XDG_CONFIG_HOME": str(place / "config"),
        "SCSIPUB_SITE": f"{host}:{port}",
        "SCSIPUB_WEB": web,
    }
    with (place / "caddy.log").open("wb") as log:
        process = subprocess.Popen(
            ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"], env=env, stdout=log, stderr=log
        )
        root = data / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        try:

            def serves() -> bool:
                if process.poll() is not None:
                    raise AssertionError(f"caddy ended: {(place / 'caddy.log').read_text()}")
                context = ssl.create_default_context(cafile=root)
                with socket.create_connection(("127.0.0.1", port), 5) as sock:
                    context.wrap_socket(sock, server_hostname=host).close()
                return True

            eventually(serves, 30, 0.1)
            yield Proxy(f"{host}:{port}", root, data / "caddy" / "certificates", process)
        finally:
            process.terminate()
            process.wait(10)
