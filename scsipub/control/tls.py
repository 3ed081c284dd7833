"""The TLS portals: open when there is a certificate to serve, and from then on.

Knows trio and files.  Whoever starts the daemon before the certificate has been issued gets TLS when it is
there, without a restart; the workers follow its renewals by themselves."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import trio

from scsipub.certificates import Files, Pair, Unusable, host_of, load
from scsipub.control.accept import accept, listen
from scsipub.control.logs import say, warn
from scsipub.errors import OperatorError

if TYPE_CHECKING:
    from scsipub.control.app import Control

# How often to look for a pair while there is none.  Nothing else waits for it.
LOOK_SECONDS = 2.0


class TlsPortals:
    """Those of the configuration's portals that speak TLS."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        config = control.config
        self.portals = [(i, portal) for i, portal in enumerate(config.portals) if portal.tls]
        self.hosts = sorted({host_of(p.public_host) for _, p in self.portals if p.public_host})
        self.waiting = bool(self.portals)
        # Whose target port tunnels use: what comes by WebSocket is much like what comes by TLS.
        self.tunnel_portal = self.portals[0][0] if self.portals else 0
        self.said: tuple[str, str] | None = None
        # What is in service.  A worker that starts while the files are in disorder is given this one.
        self.pair: Pair | None = None
        self.files: Files | None = None
        if config.tls_cert is not None and config.tls_key is not None:
            self.files = Files(config.tls_cert, config.tls_key, config.tls_client_ca)

    def settings(self) -> dict[str, Any] | None:
        """What a worker needs for handshakes."""
        if not self.portals or self.files is None:
            return None
        return {
            "files": [str(path) for path in self.files.all],
            "hosts": self.hosts,
            "pair": self.pair.to_json() if self.pair is not None else None,
        }

    def try_open(self) -> bool:
        """Listen, if there is a pair to serve.  Raises OperatorError when an address cannot be had."""
        config = self.control.config
        if not self.waiting or not self._load():
            return False
        opened = []
        try:
            for index, portal in self.portals:
                for listener in listen(portal, config.limits.listen_backlog):
                    opened.append((listener, index))
        except OperatorError:
            for listener, _ in opened:
                listener.close()
            raise
        self.control.listeners += opened
        self.control.endpoints["tls"] = self.control.address_of(opened[0][0])
        self.waiting = False
        return True

    def _load(self) -> bool:
        """Look at the files; what is good is in service from now on."""
        if self.files is None:
            return False
        try:
            self.pair = load(self.files, self.hosts, datetime.now(UTC)).pair
        except Unusable as unusable:
            self.heard("certificate not used", str(unusable))
            return False
        return True

    def _hand_down(self) -> None:
        """Before the first handshake: the files may be something else by then."""
        if self.pair is None:
            return
        for worker in self.control.pool.workers:
            worker.channel.try_cast("certificate", self.pair.to_json())

    async def open_when_ready(self, nursery: trio.Nursery) -> None:
        """Look now and then until a pair is there; then accept in ``nursery``."""
        control = self.control
        while self.waiting:
            await trio.sleep(LOOK_SECONDS)
            before = len(control.listeners)
            try:
                if not self.try_open():
                    continue
            except OperatorError as error:
                self.heard("tls port not opened", str(error))
                continue
            self._hand_down()
            for listener, portal in control.listeners[before:]:
                nursery.start_soon(accept, control, listener, portal)
            control.say_endpoints()
            say("serving tls", tls=control.endpoints["tls"])

    def heard(self, what: str, why: str) -> None:
        """Something about the pair, from here or from a worker.  Each state of things is said once."""
        if self.said == (what, why):
            return
        self.said = (what, why)
        if what == "certificate loaded":
            say(what, why=why)
            self._load()
        else:
            warn(what, why=why)
