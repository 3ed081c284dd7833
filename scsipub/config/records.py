"""What the operator wants, as frozen records.  Defaults live here and in ``scsipub.limits``, nowhere else.

Knows nothing of where a value came from: ``load`` reads files, variables and options."""

import enum
import os
import re
from collections.abc import Mapping
from pathlib import Path

import attrs

from scsipub.limits import DEFAULT, Limits
from scsipub.tiers import ANONYMOUS, Tier

IQN_PREFIX = "iqn.2025-01.pub.scsipub"


class TargetAddress(enum.StrEnum):
    """What SendTargets says about where a target is.  RFC 7143 appendix C."""

    OMIT = "omit"  # nothing: the initiator stays with the address it typed (NAT, stunnel)
    FIXED = "fixed"  # the public host name
    MIRROR = "mirror"  # the address the initiator connected to


@attrs.frozen(kw_only=True)
class Portal:
    """One address to listen on, and how discovery through it answers."""

    host: str
    port: int
    tls: bool = False
    target_address: TargetAddress = TargetAddress.MIRROR
    public_host: str | None = None


@attrs.frozen(kw_only=True)
class ChapUser:
    """Who may log in to a target, and who we are to them."""

    user: str
    secret: str = attrs.field(repr=False)
    mutual_user: str | None = None
    mutual_secret: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class LunConfig:
    """One logical unit: a copy-on-write disk over an image, or over ``size`` bytes of zeros."""

    lun: int
    image: str | None = None
    size: int | None = None  # bytes
    read_only: bool = False
    removable: bool = False
    thin: bool = True
    block_size: int = 512
    physical_block_size: int = 4096  # what initiators align to; the host's file system has pages of this size
    unmap_ignores_pattern: bool = False  # WRITE SAME with UNMAP=1 forgets whatever the pattern says


@attrs.frozen(kw_only=True)
class TargetConfig:
    """One ``[[target]]`` of the configuration file.  ``name`` is the whole iSCSI name."""

    name: str
    luns: tuple[LunConfig, ...]
    alias: str | None = None
    shared: bool = False  # True: all sessions see one disk; False: each session has its own copy
    users: tuple[ChapUser, ...] = ()  # none: everybody may log in
    algorithm_floor: int = 5  # weakest CHAP_A we agree to; the IANA numbers grow with strength
    initiators: tuple[str, ...] = ()  # allowed names, ``*`` matches anything; none: all
    sanitize_seconds: float = 0.0  # how long SANITIZE pretends to take; for tests of initiators
    nexus: str = "name"  # one initiator, to reservations: its name, or name and ISID ("initiator-port")
    tier: str = ANONYMOUS.name

    def admits(self, initiator_name: str) -> bool:
        """Whether an initiator of this name may know of the target.  RFC 3722: case does not count."""
        name = initiator_name.lower()
        return not self.initiators or any(_matches(allowed.lower(), name) for allowed in self.initiators)


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


def default_workers() -> int:
    """One per core we may run on."""
    return max(1, len(os.sched_getaffinity(0)))


def default_state_dir(environ: Mapping[str, str] | None = None) -> Path:
    """``$XDG_STATE_HOME/scsipub``, as the XDG base directory specification says."""
    environ = os.environ if environ is None else environ
    home = environ.get("XDG_STATE_HOME", "")
    base = Path(home) if Path(home).is_absolute() else Path.home() / ".local" / "state"
    return base / "scsipub"


@attrs.frozen(kw_only=True)
class Config:
    """Everything the operator decided.  Handed to control, and from there to each worker in parts."""

    state_dir: Path = attrs.field(factory=default_state_dir)
    host: tuple[str, ...] = ("0.0.0.0",)
    port: int = 3260
    tls_port: int = 3261  # open only when certificate and key are there
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = (
        None  # authorities of client certificates; without it nobody is asked for one
    )
    web_port: int = 4000
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")  # whose X-Forwarded-For is believed
    workers: int = attrs.field(factory=default_workers)
    public_host: str | None = None
    target_address: TargetAddress = attrs.field()
    tls_target_address: TargetAddress = (
        TargetAddress.OMIT
    )  # who speaks TLS came through a tunnel of their own
    database: str | None = None
    iqn_prefix: str = IQN_PREFIX
    log_format: str = "console"
    fetch_private: bool = False  # may who imports over HTTP name addresses of the inside?
    limits: Limits = DEFAULT
    tiers: Mapping[str, Tier] = attrs.field(factory=lambda: {ANONYMOUS.name: ANONYMOUS})
    targets: tuple[TargetConfig, ...] = ()
    listed_portals: tuple[Portal, ...] = ()  # ``[[portal]]`` of the file, in place of host and the ports

    @target_address.default
    def _fixed_when_there_is_a_name_to_give(self) -> TargetAddress:
        return TargetAddress.FIXED if self.public_host else TargetAddress.MIRROR

    @property
    def portals(self) -> tuple[Portal, ...]:
        """Every address to listen on."""
        if self.listed_portals:
            return self.listed_portals
        plain = [
            Portal(
                host=host, port=self.port, target_address=self.target_address, public_host=self.public_host
            )
            for host in self.host
        ]
        if self.tls_cert is None:
            return tuple(plain)
        policy, name = self.tls_target_address, self.public_host
        tls = [
            Portal(host=host, port=self.tls_port, tls=True, target_address=policy, public_host=name)
            for host in self.host
        ]
        return (*plain, *tls)

    @property
    def images_dir(self) -> Path:
        return self.state_dir / "images"

    @property
    def overlays_dir(self) -> Path:
        return self.state_dir / "overlays"

    @property
    def disposable_dir(self) -> Path:
        """Those of disposable disks, which is all that workers reach of them."""
        return self.overlays_dir / "disposable"

    @property
    def run_dir(self) -> Path:
        return self.state_dir / "run"

    @property
    def control_socket(self) -> Path:
        return self.run_dir / "control.sock"

    @property
    def endpoints_file(self) -> Path:
        return self.run_dir / "endpoints.json"
