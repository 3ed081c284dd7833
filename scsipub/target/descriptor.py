"""What control tells a worker about a target: everything needed to serve it, nothing secret.

Source: none; the seam between catalogue and session.  Frozen records that travel as JSON (``to_json``,
``from_json``).  Knows neither side."""

from typing import Any, Self

import attrs
import cattrs


class _Json:
    """Records that travel between our own processes."""

    def to_json(self) -> dict[str, Any]:
        done: dict[str, Any] = cattrs.unstructure(self)
        return done

    @classmethod
    def from_json(cls, data: Any) -> Self:
        return cattrs.structure(data, cls)


@attrs.frozen(kw_only=True)
class ClientCertificate(_Json):
    """What an initiator has shown in the TLS handshake, signed by an authority of the operator's.

    ``fingerprint``: SHA-256 of it, in hex; ``names``: its common name and alternative names."""

    fingerprint: str
    names: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Arrival(_Json):
    """A connection that control accepted; its socket travels beside.

    ``accepted`` is CLOCK_MONOTONIC seconds, which all processes of the machine share."""

    id: str
    source: str
    source_port: int
    local: str  # where the initiator connected to
    local_port: int
    portal: int  # which of the configured portals
    tls: bool
    accepted: float
    head: str = ""  # base64 of what another worker has read of it already
    answered: int = 0  # and how many responses that has sent
    relayed: bool = False  # somebody else does its TLS; the socket is a pipe to them
    certificate: ClientCertificate | None = None
    tunnel: bool = False  # came inside a WebSocket, over the web process


@attrs.frozen(kw_only=True)
class Rates(_Json):
    """How fast all sessions of a target together may go; None: as fast as it goes.

    A burst that is not told is what one second brings."""

    iops: float | None = None
    iops_burst: float | None = None
    bytes_per_second: float | None = None
    bytes_burst: float | None = None

    def __bool__(self) -> bool:
        return self.iops is not None or self.bytes_per_second is not None


@attrs.frozen(kw_only=True)
class LunDescriptor(_Json):
    """One logical unit.  ``overlay`` names its files, ``uuid`` (hex) its identity; sizes are bytes."""

    lun: int
    uuid: str
    overlay: str
    size: int
    budget: int
    image: str | None = None  # path of the base; None: zeros
    image_sha256: str = ""
    read_only: bool = False
    removable: bool = False
    thin: bool = True
    block_size: int = 512
    physical_block_size: int = 4096
    unmap_ignores_pattern: bool = False
    sanitize_seconds: float = 0.0
    reservations: dict[str, Any] | None = None  # what was kept of persistent reservations
    persistent: bool = False  # its files were made when it was rented; without them it is offline
    adopt: bool = False  # the overlay may exist: its session died or ended, and this one carries on


@attrs.frozen(kw_only=True)
class AuthDescriptor(_Json):
    """How an initiator proves who it is.  Secrets stay with control."""

    required: bool = False
    algorithm_floor: int = 5
    mutual: bool = False


@attrs.frozen(kw_only=True)
class TargetDescriptor(_Json):
    """One target for one session.  ``shared``: all its sessions are in this worker and see one disk."""

    name: str
    session: str
    luns: tuple[LunDescriptor, ...] = ()
    shared: bool = False
    alias: str = ""
    nexus: str = "name"  # who is one initiator to reservations: its name, or its "initiator-port"
    reinstated: bool = False  # this session has replaced an earlier one of the same initiator
    auth: AuthDescriptor = attrs.field(factory=AuthDescriptor)
    rates: Rates = attrs.field(factory=Rates)


@attrs.frozen(kw_only=True)
class Verdict(_Json):
    """The catalogue's answer to a first Login PDU.  Exactly one of the fields is set."""

    target: TargetDescriptor | None = None
    refuse: int | None = None  # login status
    why: str = ""
    cause: str = ""  # of a refusal, for who is told why later
    redirect: str | None = None
    hand_on: int | None = None  # another worker owns the target
