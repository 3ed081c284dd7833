"""Ports that stay free for as long as a test needs them to."""

import random
import socket

# Below what Linux gives to outgoing connections (ip_local_port_range begins at 32768): nobody takes one of
# these by chance while the daemon that had it is away.
FIRST, LAST = 20_000, 32_000


def quiet_port() -> int:
    """A port of 127.0.0.1 that nobody listens on, and that no outgoing connection will take."""
    while True:
        port = random.randrange(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
