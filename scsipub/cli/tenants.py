"""``scsipub tenant``, ``token`` and ``tier``: who rents, how they are known, and what they may.

Thin: the daemon does all of it, over the control socket."""

from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from scsipub.cli.daemon import ask, ask_all
from scsipub.cli.options import reading
from scsipub.cli.rentals import byte_count, seconds
from scsipub.cli.show import duration, harmless, show_json, show_table, size
from scsipub.config import Config
from scsipub.errors import OperatorError


def _said(config: Config, as_json: bool, method: str, params: dict[str, Any], words: str) -> None:
    answer = ask(config, method, {key: value for key, value in params.items() if value is not None})
    if as_json:
        show_json(answer)
    else:
        click.echo(harmless(words.format(**answer)))


# -- tenants -------------------------------------------------------------------------------------------------


@click.group()
def tenant() -> None:
    """Who rents targets."""


@tenant.command("create")
@click.argument("name")
@click.option("--tier", required=True, help="What it may use, unless a target says another.")
@reading
def create_tenant(config: Config, as_json: bool, name: str, tier: str) -> None:
    """Make a tenant."""
    _said(config, as_json, "tenant.create", {"name": name, "tier": tier}, "{name} has the id {id}")


@tenant.command("list")
@reading
def list_tenants(config: Config, as_json: bool) -> None:
    """Every tenant."""
    listed = ask_all(config, "tenant.list", "tenants", {})
    if as_json:
        show_json(listed)
        return
    rows = [
        (t["name"], t["tier"], "suspended" if t["suspended"] else "", t["created"], t["id"]) for t in listed
    ]
    columns = ("name", "tier", "state", "since", "id")
    show_table("Tenants", columns, rows, empty="No tenants.  `scsipub tenant create` makes one.")


@tenant.command("change")
@click.argument("name")
@click.option("--tier", help="Another tier, for what is rented from now on.")
@click.option("--suspend/--resume", "suspended", default=None, help="Let its tokens rest, or work again.")
@reading
def change_tenant(config: Config, as_json: bool, name: str, tier: str | None, suspended: bool | None) -> None:
    """Change a tenant's tier, or suspend it."""
    params = {"tenant": name, "tier": tier, "suspended": suspended}
    _said(config, as_json, "tenant.change", params, "{name} has the tier {tier}; suspended: {suspended}")


@tenant.command("remove")
@click.argument("name")
@reading
def remove_tenant(config: Config, as_json: bool, name: str) -> None:
    """Remove a tenant that rents nothing any more, and its tokens."""
    _said(config, as_json, "tenant.remove", {"tenant": name}, "{removed} was removed")


@tenant.group()
def certificate() -> None:
    """Client certificates, by which a tenant's machines prove whose they are."""


@certificate.command("add")
@click.argument("tenant_name", metavar="TENANT")
@click.option("--file", type=click.Path(path_type=Path), metavar="PEM", help="This very certificate.")
@click.option("--fingerprint", metavar="HEX", help="The same, by its SHA-256.")
@click.option(
    "--name", help="Every certificate of this name (CN or SAN), from an authority of tls_client_ca."
)
@reading
def add_certificate(
    config: Config,
    as_json: bool,
    tenant_name: str,
    file: Path | None,
    fingerprint: str | None,
    name: str | None,
) -> None:
    """Let a certificate stand for TENANT.  Give one of --file, --fingerprint and --name."""
    if sum(each is not None for each in (file, fingerprint, name)) != 1:
        raise OperatorError("Which certificate?", "Give one of --file, --fingerprint and --name.")
    if file is not None:
        fingerprint = fingerprint_of(file)
    identity = f"sha256:{fingerprint}" if fingerprint is not None else f"name:{name}"
    params = {"tenant": tenant_name, "identity": identity}
    _said(config, as_json, "tenant.certificate.add", params, "{identity} is known as {id}")


@certificate.command("list")
@click.option("--tenant", "tenant_name", metavar="TENANT", help="Only this tenant's.")
@reading
def list_certificates(config: Config, as_json: bool, tenant_name: str | None) -> None:
    """Every certificate that stands for a tenant."""
    listed = ask(config, "tenant.certificate.list", {"tenant": tenant_name} if tenant_name else {})
    if as_json:
        show_json(listed)
        return
    rows = [(said["id"], said["tenant_id"], said["identity"], said["created"]) for said in listed]
    show_table("Certificates", ("id", "tenant", "identity", "since"), rows, empty="No certificates.")


@certificate.command("remove")
@click.argument("identity", metavar="ID")
@reading
def remove_certificate(config: Config, as_json: bool, identity: str) -> None:
    """Let nobody log in by it any more.  A session that is there stays; `session kick` ends it."""
    _said(config, as_json, "tenant.certificate.remove", {"id": identity}, "{removed} was removed")


def fingerprint_of(file: Path) -> str:
    """SHA-256 of the first certificate in a PEM file, in hex."""
    try:
        found = x509.load_pem_x509_certificate(file.read_bytes())
    except OSError as error:
        raise OperatorError(f"{file} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise OperatorError(f"There is no certificate in {file}.", "It must be PEM.") from None
    return found.fingerprint(hashes.SHA256()).hex()


# -- tokens --------------------------------------------------------------------------------------------------


@click.group()
def token() -> None:
    """Rights to use the API."""


@token.command("create")
@click.option("--tenant", help="Whose; the operator's unless told.")
@click.option("--name", default="", help="What it is for.")
@click.option("--scope", "scopes", multiple=True, help="What it may; everything of its owner unless told.")
@click.option("--lifetime", metavar="TIME", help="12h, 30d, 4w; for ever unless told.")
@reading
def create_token(config: Config, as_json: bool, tenant: str | None, **said: Any) -> None:
    """Make a token.  It is shown once and cannot be shown again."""
    params = {
        "tenant": tenant,
        "name": said["name"],
        "scopes": list(said["scopes"]),
        "lifetime_seconds": seconds(said["lifetime"]) if said["lifetime"] else None,
    }
    _said(config, as_json, "token.create", params, "{token}")


@token.command("list")
@click.option("--tenant", help="Only this tenant's.")
@reading
def list_tokens(config: Config, as_json: bool, tenant: str | None) -> None:
    """Every token, without its secret half."""
    listed = ask_all(config, "token.list", "tokens", {"tenant": tenant})
    if as_json:
        show_json(listed)
        return
    columns = ("id", "name", "tenant", "scopes", "expires", "last used", "revoked")
    rows = [
        (
            said["id"],
            said["name"],
            said["tenant_id"] or "operator",
            " ".join(said["scopes"]),
            said["expires"] or "never",
            said["last_used"] or "never",
            said["revoked"] or "",
        )
        for said in listed
    ]
    show_table("Tokens", columns, rows, empty="No tokens.  `scsipub token create` makes one.")


@token.command("revoke")
@click.argument("identity", metavar="ID")
@reading
def revoke_token(config: Config, as_json: bool, identity: str) -> None:
    """Make a token worthless, for ever."""
    _said(config, as_json, "token.revoke", {"id": identity}, "{revoked} was revoked")


RATES = ("iops", "iops_burst", "bytes_per_second", "bytes_burst")

# -- tiers ---------------------------------------------------------------------------------------------------


@click.group()
def tier() -> None:
    """What a kind of customer may use."""


@tier.command("set")
@click.argument("name")
@click.option("--budget", metavar="SIZE", help="What each unit may allocate; a new tier needs it.")
@click.option("--disk", metavar="SIZE", help="The largest unit.")
@click.option("--luns", type=click.IntRange(1, 256), help="Units of one target.")
@click.option("--targets", type=click.IntRange(0), help="Targets of one tenant.")
@click.option("--sessions", type=click.IntRange(1), help="Sessions of one target at a time.")
@click.option("--lifetime", metavar="TIME", help="How long a target lasts; for ever unless told.")
@click.option("--warn", metavar="TIME", help="How long before its end a target's tenant is warned.")
@click.option("--grace", metavar="TIME", help="How long what has expired is kept.")
@click.option("--tls/--no-tls", default=None, help="Only over TLS.")
@click.option(
    "--certificate/--no-certificate", "by_certificate", default=None, help="Only with a client certificate."
)
@click.option(
    "--iops", type=click.FloatRange(0), help="Commands a second, all sessions of a target; 0: no bound."
)
@click.option("--iops-burst", type=click.FloatRange(0), help="So many at once; one second's unless told.")
@click.option("--bandwidth", metavar="SIZE", help="Bytes a second, all sessions of a target; 0: no bound.")
@click.option("--bandwidth-burst", metavar="SIZE", help="So many at once; one second's unless told.")
@reading
def set_tier(config: Config, as_json: bool, name: str, **said: Any) -> None:
    """Make a tier for rented targets, or change what is told of one.

    The sessions of its targets follow --iops and --bandwidth at once; they are delayed, never refused.
    """
    known = next((each for each in ask(config, "tier.list") if each["name"] == name), None)
    if known is None and not said["budget"]:
        raise OperatorError(f"A new tier {name} needs a budget.", 'Say --budget "20 GiB".')
    params: dict[str, Any] = {"tls_required": said["tls"], "certificate_required": said["by_certificate"]}
    for key, word in (
        ("allocation_budget", "budget"),
        ("disk_bytes", "disk"),
        ("bytes_per_second", "bandwidth"),
        ("bytes_burst", "bandwidth_burst"),
    ):
        if said[word]:
            params[key] = 0 if said[word] == "0" else byte_count(said[word])
    for key, word in (
        ("lifetime_seconds", "lifetime"),
        ("warn_seconds", "warn"),
        ("expiry_grace_seconds", "grace"),
    ):
        params[key] = seconds(said[word]) if said[word] is not None else None
    params |= {key: said[key] for key in ("luns", "targets", "sessions", "iops", "iops_burst")}
    terms = {
        **(known or {"name": name, "persistent": True}),
        **{k: v for k, v in params.items() if v is not None},
    }
    for key in RATES:
        if terms.get(key) == 0:  # no bound
            terms[key] = None
    _said(config, as_json, "tier.put", terms, "tier {name} is set")


@tier.command("list")
@reading
def list_tiers(config: Config, as_json: bool) -> None:
    """Every tier."""
    listed = ask(config, "tier.list")
    if as_json:
        show_json(listed)
        return
    columns = (
        *("name", "rented", "unit#", "budget#", "units#", "targets#", "sessions#", "iops#", "a second#"),
        "lifetime",
    )
    rows = [
        (
            said["name"],
            "yes" if said["persistent"] else "no",
            size(said["disk_bytes"]),
            size(said["allocation_budget"]),
            said["luns"],
            said["targets"],
            said["sessions"],
            f"{said['iops']:g}" if said["iops"] else "",
            size(said["bytes_per_second"]) if said["bytes_per_second"] else "",
            duration(said["lifetime_seconds"]) if said["lifetime_seconds"] else "for ever",
        )
        for said in listed
    ]
    show_table("Tiers", columns, rows, empty="No tiers.")


@tier.command("remove")
@click.argument("name")
@reading
def remove_tier(config: Config, as_json: bool, name: str) -> None:
    """Remove a tier that nobody has."""
    _said(config, as_json, "tier.remove", {"name": name}, "{removed} was removed")
