"""``scsipub target``: disks that somebody rents, and that last.

Thin: the daemon does all of it, over the control socket."""

from typing import Any

import click

from scsipub.cli.daemon import ask, ask_all
from scsipub.cli.options import reading
from scsipub.cli.show import harmless, show_json, show_table
from scsipub.cli.show import size as shown_size
from scsipub.config import Config, values
from scsipub.errors import OperatorError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(text: str) -> float:
    """``90``, ``15m``, ``12h``, ``30d``, ``4w``."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "s")
    try:
        return float(number) * UNITS[unit]
    except ValueError:
        raise OperatorError(f"{text!r} is no length of time.", "Say 90, 15m, 12h, 30d or 4w.") from None


def byte_count(text: str) -> int:
    """``10 GiB``, ``10GiB`` or a number of bytes."""
    try:
        return values.size(text, least=512)
    except values.NotAllowed as no:
        raise OperatorError(f"{text!r} is no size.", no.allowed) from None


@click.group()
def target() -> None:
    """Targets that tenants rent: their disks last."""


@target.command()
@click.argument("tenant")
@click.option("--size", "sizes", multiple=True, metavar="SIZE", help="A unit of so many zeros; repeatable.")
@click.option("--image", "images", multiple=True, metavar="NAME", help="A unit over an image; repeatable.")
@click.option("--tier", help="The tenant's, unless told.")
@click.option("--alias", default="", help="What initiators are told it is called.")
@click.option(
    "--initiator", "initiators", multiple=True, metavar="IQN", help="Who may log in; * matches all."
)
@click.option("--nexus", type=click.Choice(["name", "initiator-port"]), help="Whom reservations belong to.")
@click.option("--lifetime", metavar="TIME", help="12h, 30d, 4w; what the tier allows unless told.")
@click.option("--certificate", is_flag=True, help="Only with a client certificate of the tenant's.")
@click.option("--mutual", is_flag=True, help="The target proves who it is, too.")
@reading
def create(config: Config, as_json: bool, tenant: str, **said: Any) -> None:
    """Rent a target for TENANT: images first, then blank units, numbered from LUN 0 on.

    The secret is shown once and cannot be shown again.
    """
    luns: list[dict[str, Any]] = [{"image": name} for name in said["images"]]
    luns += [{"size": byte_count(text)} for text in said["sizes"]]
    answer = ask(
        config,
        "target.create",
        {
            "tenant": tenant,
            "luns": luns,
            "tier": said["tier"],
            "alias": said["alias"],
            "initiators": list(said["initiators"]),
            "nexus": said["nexus"],
            "lifetime_seconds": seconds(said["lifetime"]) if said["lifetime"] else None,
            "mutual": said["mutual"],
            "certificate_required": said["certificate"],
        },
    )
    if as_json:
        show_json(answer)
        return
    show_new(answer)


def show_new(answer: dict[str, Any]) -> None:
    """With its secret, and what to type."""
    _show(answer)
    for key, value in answer["chap"].items():
        if value is not None:
            click.echo(f"{key.replace('_', ' ')}: {value}")
    for initiator, command in answer["commands"].items():
        click.echo(f"\n{initiator}:\n{command}")


@target.command("list")
@click.option("--tenant", help="Only this tenant's.")
@reading
def list_targets(config: Config, as_json: bool, tenant: str | None) -> None:
    """Every rented target."""
    listed = ask_all(config, "target.list", "targets", {"tenant": tenant})
    if as_json:
        show_json(listed)
        return
    show_table(
        "Targets",
        ("id", "tenant", "tier", "state", "units#", "size#", "expires", "reason"),
        [
            (
                said["id"],
                said["tenant"],
                said["tier"],
                said["state"],
                len(said["luns"]),
                shown_size(sum(lun["size"] for lun in said["luns"])),
                f"{said['expires'] or 'never'}{', soon' if said['expiring'] else ''}",
                said["reason"],
            )
            for said in listed
        ],
        empty="Nobody rents anything.  `scsipub target create` makes a target.",
    )


def _show(said: dict[str, Any]) -> None:
    words = {key: said[key] for key in ("name", "tenant", "tier", "state", "reason", "alias", "expires")}
    for key, value in words.items():
        if value:
            click.echo(harmless(f"{key}: {value}"))
    for lun in said["luns"]:
        over = f" over {lun['image']}" if lun["image"] else ""
        trouble = f", {lun['reason']}" if lun["reason"] else ""
        click.echo(harmless(f"LUN {lun['lun']}: {shown_size(lun['size'])}{over}, {lun['state']}{trouble}"))


def _one(method: str, config: Config, as_json: bool, **params: Any) -> None:
    answer = ask(config, method, params)
    if as_json:
        show_json(answer)
    elif "luns" in answer:
        _show(answer)
    else:
        click.echo(harmless(", ".join(f"{key}: {value}" for key, value in answer.items())))


@target.command()
@click.argument("identity", metavar="ID")
@reading
def show(config: Config, as_json: bool, identity: str) -> None:
    """One target: its units, sessions and last events.  ID or the whole iSCSI name."""
    answer = ask(config, "target.show", {"id": identity})
    if as_json:
        show_json(answer)
        return
    _show(answer)
    for initiator in answer["sessions"]:
        click.echo(harmless(f"session of {initiator}"))
    for event in answer["events"]:
        click.echo(harmless(f"{event['at']}  {event['text']}"))
    for attempt in answer["attempts"]:
        if attempt["mend"]:
            click.echo(harmless(f"{attempt['last']}  {attempt['words']}"))
            click.echo(harmless(f"    $ {attempt['mend']}"))


@target.command()
@click.argument("identity", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@reading
def destroy(config: Config, as_json: bool, identity: str, yes: bool) -> None:
    """Remove a target and everything written to it, for ever."""
    if not (yes or as_json):
        click.confirm(f"Everything on {identity} will be gone.  Go on?", abort=True)
    _one("target.destroy", config, as_json, id=identity)


@target.command()
@click.argument("identity", metavar="ID")
@click.option("--reason", default="", help="What those are told who ask.")
@reading
def suspend(config: Config, as_json: bool, identity: str, reason: str) -> None:
    """End its sessions and let nobody log in; everything is kept."""
    _one("target.suspend", config, as_json, id=identity, reason=reason)


@target.command()
@click.argument("identity", metavar="ID")
@click.option("--looked", is_flag=True, help="A medium has failed, I have seen to it: serve what is there.")
@reading
def resume(config: Config, as_json: bool, identity: str, looked: bool) -> None:
    """Let initiators log in again, if the disks are what they should be."""
    _one("target.resume", config, as_json, id=identity, looked=looked)


@target.command()
@click.argument("identity", metavar="ID")
@click.argument("size")
@click.option("--lun", type=click.IntRange(0, 255), default=0, show_default=True, help="Which unit.")
@reading
def resize(config: Config, as_json: bool, identity: str, size: str, lun: int) -> None:
    """Make a unit longer; it never becomes shorter.

    Sessions go on and are told; with open-iscsi, `iscsiadm -m session -R` then shows the new size.
    """
    _one("target.resize", config, as_json, id=identity, lun=lun, size=byte_count(size))


@target.command()
@click.argument("identity", metavar="ID")
@click.argument("time")
@reading
def extend(config: Config, as_json: bool, identity: str, time: str) -> None:
    """Let a target last TIME longer (12h, 30d, 4w), as far as its tier allows.

    One that has expired serves again, if it was not removed yet.
    """
    _one("target.extend", config, as_json, id=identity, seconds=seconds(time))


@target.command("add-lun")
@click.argument("identity", metavar="ID")
@click.option("--size", metavar="SIZE", help="So many zeros, or room for so many bytes over the image.")
@click.option("--image", metavar="NAME", help="Over this image.")
@reading
def add_lun(config: Config, as_json: bool, identity: str, size: str | None, image: str | None) -> None:
    """One more unit, with the lowest number that is free.  Sessions are told that there is one."""
    if size is None and image is None:
        raise OperatorError(
            "The unit has neither a size nor an image.", 'Say --size "8 GiB" or --image NAME.'
        )
    length = byte_count(size) if size is not None else None
    _one("lun.add", config, as_json, id=identity, size=length, image=image)


@target.command("remove-lun")
@click.argument("identity", metavar="ID")
@click.argument("lun", type=click.IntRange(0, 255))
@click.option("--yes", is_flag=True, help="Do not ask.")
@reading
def remove_lun(config: Config, as_json: bool, identity: str, lun: int, yes: bool) -> None:
    """Remove a unit and everything written to it, for ever.  The other units' sessions go on."""
    if not (yes or as_json):
        click.confirm(f"Everything on LUN {lun} of {identity} will be gone.  Go on?", abort=True)
    _one("lun.remove", config, as_json, id=identity, lun=lun)


@target.command()
@click.argument("identity", metavar="ID")
@reading
def reservations(config: Config, as_json: bool, identity: str) -> None:
    """Who is registered at each unit, with which key, and who holds it."""
    answer = ask(config, "target.reservations", {"id": identity})
    if as_json:
        show_json(answer)
        return
    for lun in answer["luns"]:
        power_loss = ", survives a power loss" if lun["survives_power_loss"] else ""
        show_table(
            f"LUN {lun['lun']}: {lun['type'] or 'not reserved'}, generation {lun['generation']}{power_loss}",
            ("initiator", "isid", "portal#", "key#", "holds", "sessions#"),
            [
                (
                    said["initiator"],
                    said["isid"] or "any",
                    said["portal"] or "any",
                    said["key"],
                    "yes" if said["holds"] else "",
                    said["sessions"],
                )
                for said in lun["registrations"]
            ],
            empty=f"LUN {lun['lun']}: nobody is registered.",
        )


@target.command()
@click.argument("identity", metavar="ID")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True, help="How many.")
@reading
def events(config: Config, as_json: bool, identity: str, limit: int) -> None:
    """What happened to a target, the newest first: who registered, who fenced whom."""
    answer = ask(config, "event.list", {"target": identity, "limit": limit})
    if as_json:
        show_json(answer["events"])
        return
    for event in answer["events"]:
        click.echo(harmless(f"{event['at']}  {event['kind']}  {event['text']}"))
