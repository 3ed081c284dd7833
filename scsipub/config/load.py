"""From options, variables and a TOML file to one ``Config``.

An option beats a ``SCSIPUB_…`` variable beats the file beats the default.  What cannot be understood is
refused in plain words that name the place, the key and what is allowed; nothing is ignored.

``SETTINGS`` is the one list of settings: the command line, the variables, the file's top-level keys and
the table in ``docs/operations.md`` all come from it."""

import functools
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from scsipub.config import values
from scsipub.config.records import IQN_PREFIX, Config, Portal, TargetAddress, default_state_dir
from scsipub.config.tables import Parsers, read_row, refuse_unknown, rows, subtable
from scsipub.config.targets import algorithm, read_targets
from scsipub.errors import OperatorError
from scsipub.limits import Limits, MiB
from scsipub.tiers import ANONYMOUS, LEAST_BYTES_PER_SECOND, Tier, anonymous

_PORT = values.whole_number(0, 65535)
_POLICY = values.one_of(*TargetAddress)
# sockaddr_un.sun_path has 108 bytes with the closing zero.  unix(7).
_SOCKET_PATH_BYTES = 107
# Limits in bytes that keep the RFC's names, which do not end in _bytes.
_BYTE_COUNTS = frozenset({"first_burst", "max_burst", "max_recv_data_segment"})


@attrs.frozen
class Setting:
    """One thing an operator may set in three places."""

    name: str
    parse: Callable[[object], Any]
    metavar: str
    help: str

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "SCSIPUB_" + self.name.upper()


SETTINGS = (
    Setting("state_dir", values.path, "DIR", "Where images, overlays and the control socket live."),
    Setting("host", values.hosts, "ADDRESS[,…]", "Addresses to listen on."),
    Setting("port", _PORT, "PORT", "iSCSI port; 0 picks a free one."),
    Setting("tls_port", _PORT, "PORT", "iSCSI-over-TLS port; open only with certificate and key."),
    Setting("tls_cert", values.path, "FILE", "Certificate chain, PEM."),
    Setting("tls_key", values.path, "FILE", "Private key, PEM."),
    Setting("tls_client_ca", values.path, "FILE", "Authorities that client certificates come from, PEM."),
    Setting("web_port", _PORT, "PORT", "HTTP port on loopback; 0 picks a free one."),
    Setting("trusted_proxies", values.addresses, "ADDRESS[,…]", "Proxies whose X-Forwarded-For is believed."),
    Setting("workers", values.whole_number(1, 256), "N", "Worker processes; as many as cores unless told."),
    Setting("public_host", values.public_host, "NAME[:PORT]", "How the world reaches us, told in discovery."),
    Setting("target_address", _POLICY, "omit|fixed|mirror", "What discovery says about where targets are."),
    Setting("tls_target_address", _POLICY, "omit|fixed|mirror", "The same, for those who come by TLS."),
    Setting("database", values.text, "URL", "postgresql://… instead of SQLite in the state directory."),
    Setting("iqn_prefix", values.iqn_prefix, "IQN", "What the names of our targets begin with."),
    Setting(
        "fetch_private",
        values.yes_or_no_in_words,
        "yes|no",
        "Images may be imported over HTTP from loopback and private addresses.",
    ),
    Setting("log_format", values.one_of("console", "json"), "console|json", "For eyes, or for machines."),
)
TABLES = ("limits", "tiers", "target", "portal")


def load_config(
    options: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Read everything and check it together.  ``options`` may name the file under ``config``."""
    options = options or {}
    environ = os.environ if environ is None else environ
    named = options.get("config") or environ.get("SCSIPUB_CONFIG")
    file = Path(str(named)).expanduser().absolute() if named else None
    table = _read_file(file) if file is not None else {}
    where = str(file)
    refuse_unknown(table, [*(s.name for s in SETTINGS), *TABLES], where)

    chosen: dict[str, Any] = {"state_dir": default_state_dir(environ)}
    for setting in SETTINGS:
        found = _first(setting, options, environ, table, file)
        if found is not None:
            chosen[setting.name] = _parse(setting, *found)

    limits = _limits(subtable(table, "limits", where), where)
    tiers = _tiers(subtable(table, "tiers", where), where, limits)
    prefix = chosen.get("iqn_prefix", IQN_PREFIX)
    _check(chosen)
    chosen |= {
        "limits": limits,
        "tiers": tiers,
        "targets": read_targets(table, where, prefix=prefix, tiers=tiers),
        "listed_portals": _portals(table, where, chosen),
    }
    for policy in ("target_address", "tls_target_address"):
        if policy in chosen:
            chosen[policy] = TargetAddress(chosen[policy])
    return Config(**chosen)


def _first(
    setting: Setting,
    options: Mapping[str, object],
    environ: Mapping[str, str],
    table: Mapping[str, Any],
    file: Path | None,
) -> tuple[object, str, Path] | None:
    """The value that counts, where it stood, and what a relative path there is relative to."""
    if options.get(setting.name) is not None:
        return options[setting.name], f"Option {setting.option}", Path.cwd()
    if environ.get(setting.variable):
        return environ[setting.variable], f"Variable {setting.variable}", Path.cwd()
    if setting.name in table and file is not None:
        return table[setting.name], f"{file}: {setting.name}", file.parent
    return None


def _parse(setting: Setting, raw: object, where: str, base: Path) -> Any:
    try:
        value = setting.parse(raw)
    except values.NotAllowed as no:
        raise OperatorError(f"{where} is {values.shown(raw)}.", no.allowed) from None
    # normpath, not resolve(): a state directory reached through a symlink keeps the name it was given.
    return Path(os.path.normpath(base / value)) if isinstance(value, Path) else value


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise OperatorError(f"{file} cannot be read: {error.strerror}.", "Name another --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OperatorError(
            f"{file} is not TOML: {error}.", "See docs/operations.md for an example."
        ) from None


def _limits(table: Mapping[str, Any], where: str) -> Limits:
    fields = {field.name: field for field in attrs.fields(Limits)}
    refuse_unknown(table, fields, f"{where} [limits]")
    limits = Limits(**read_row(table, {name: _limit(fields[name]) for name in table}, f"{where} [limits]"))
    if limits.first_burst > limits.max_burst:
        raise OperatorError(
            f"{where} [limits]: first_burst is {limits.first_burst}, max_burst only {limits.max_burst}.",
            "RFC 7143 §13.14 wants FirstBurstLength to be at most MaxBurstLength.",
        )
    return limits


def _limit(field: "attrs.Attribute[Any]") -> Callable[[object], Any]:
    least, most = field.metadata["least"], field.metadata["most"]
    parse: Callable[[object], Any] = values.whole_number(least, most)
    if field.type is not int:
        parse = values.number(least, most)
    elif field.name.endswith("_bytes") or field.name in _BYTE_COUNTS:
        parse = functools.partial(values.size, least=least, most=most)

    def parse_and_say_why(raw: object) -> Any:
        try:
            return parse(raw)
        except values.NotAllowed as no:
            raise values.NotAllowed(f"{no.allowed}  (It is there for: {field.metadata['reason']}.)") from None

    return parse_and_say_why


def _tiers(table: Mapping[str, Any], where: str, limits: Limits) -> dict[str, Tier]:
    tiers = {ANONYMOUS.name: anonymous(limits)}
    parsers: Parsers = {
        "allocation_budget": functools.partial(values.size, least=MiB),
        "persistent": values.yes_or_no,
        "disk_bytes": functools.partial(values.size, least=MiB),
        "luns": values.whole_number(1, 256),
        "targets": values.whole_number(0),
        "sessions": values.whole_number(1),
        "lifetime_seconds": values.number(1.0),
        "expiry_grace_seconds": values.number(0.0),
        "tls_required": values.yes_or_no,
        "certificate_required": values.yes_or_no,
        "algorithm_floor": algorithm,
        "warn_seconds": values.number(0.0),
        "iops": values.number(1.0),
        "iops_burst": values.number(1.0),
        "bytes_per_second": functools.partial(values.size, least=LEAST_BYTES_PER_SECOND),
        "bytes_burst": functools.partial(values.size, least=1),
    }
    for name in table:
        here = f"{where} [tiers.{name}]"
        said = read_row(subtable(table, name, where), parsers, here)
        if "allocation_budget" not in said:
            raise OperatorError(f"{here} has no allocation_budget.", 'Say allocation_budget = "10 GiB".')
        tiers[name] = Tier(name=name, **said)
    return tiers


def _check(chosen: Mapping[str, Any]) -> None:
    """What no value can tell alone."""
    if ("tls_cert" in chosen) != ("tls_key" in chosen):
        missing = "tls_key" if "tls_cert" in chosen else "tls_cert"
        raise OperatorError(
            f"TLS needs a certificate and a key, and {missing} is not set.", "Set both or none."
        )
    if "tls_client_ca" in chosen and "tls_cert" not in chosen:
        raise OperatorError("tls_client_ca is set, but there is no certificate.", "Set tls_cert and tls_key.")
    if "tls_port" in chosen and "tls_cert" not in chosen:
        raise OperatorError("tls_port is set, but there is no certificate.", "Set tls_cert and tls_key.")
    for policy in ("target_address", "tls_target_address"):
        if chosen.get(policy) == TargetAddress.FIXED and "public_host" not in chosen:
            raise OperatorError(
                f"{policy} is fixed, but no name was given.", "Set public_host to NAME[:PORT]."
            )
    socket = chosen["state_dir"] / "run" / "control.sock"
    if len(os.fsencode(socket)) > _SOCKET_PATH_BYTES:
        raise OperatorError(
            f"The state directory's name is too long for a Unix socket in it: {chosen['state_dir']}.",
            f"{socket} may have {_SOCKET_PATH_BYTES} bytes.",
        )


_PORTAL: Parsers = {
    "host": values.text,
    "port": _PORT,
    "tls": values.yes_or_no,
    "target_address": _POLICY,
    "public_host": values.public_host,
}


def _portals(table: Mapping[str, Any], where: str, chosen: Mapping[str, Any]) -> tuple[Portal, ...]:
    listed = rows(table, "portal", where)
    for key in ("host", "port", "tls_port") if listed else ():
        if key in chosen:
            raise OperatorError(
                f"Both {key} and [[portal]] are set.", "Say where to listen in one of the two."
            )
    return tuple(_portal(row, f"{where}: [[portal]] number {n}", chosen) for n, row in enumerate(listed, 1))


def _portal(row: Mapping[str, Any], here: str, chosen: Mapping[str, Any]) -> Portal:
    said = read_row(row, _PORTAL, here)
    if "host" not in said:
        raise OperatorError(f"{here} has no host.", "Name an address of this machine.")
    if said.get("tls") and "tls_cert" not in chosen:
        raise OperatorError(f"{here} wants TLS, but there is no certificate.", "Set tls_cert and tls_key.")
    said.setdefault("port", 3261 if said.get("tls") else 3260)
    said.setdefault("public_host", chosen.get("public_host"))
    policy = said.get("target_address", TargetAddress.FIXED if said["public_host"] else TargetAddress.MIRROR)
    if policy == TargetAddress.FIXED and said["public_host"] is None:
        raise OperatorError(f"{here}: target_address is fixed, but no name was given.", "Set public_host.")
    return Portal(**said | {"target_address": TargetAddress(policy)})
