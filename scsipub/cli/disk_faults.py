"""``scsipub fault disk``: a disk that fails, beneath a session."""

from typing import Any

import click

from scsipub.cli.daemon import ask
from scsipub.cli.faults import fault, session_of, words_of
from scsipub.cli.options import reading
from scsipub.cli.show import harmless, show_json, show_table
from scsipub.config import Config

__all__ = ["fault"]

LAST_LUN = 255

_lun = click.option("--lun", type=click.IntRange(0, LAST_LUN), default=0, help="Which unit; 0 unless given.")


@fault.group()
def disk() -> None:
    """The disk of one of a session's units fails as a real one would.

    A disposable disk is this session's alone; the disk of a rented target fails for all its sessions.  It
    lasts until `clear`, and until the last session of the unit is gone.  What was acknowledged is safe.
    """


def _ask(config: Config, identity: str, lun: int, rules: list[str] | None, seed: int | None = None) -> Any:
    params = {"id": session_of(config, identity), "lun": lun, "rules": rules, "seed": seed}
    return ask(config, "session.disk_faults", params)


def _name(answer: dict[str, Any]) -> str:
    return f"The disk of LUN {answer['lun']} of session {harmless(str(answer['id']))}"


@disk.command("set")
@click.argument("identity", metavar="SESSION")
@click.argument("rules", nargs=-1, required=True, metavar="RULE...")
@_lun
@click.option("--seed", type=click.IntRange(0), help="The same again.  One is chosen unless given.")
@reading
def set_rules(
    config: Config, as_json: bool, identity: str, rules: tuple[str, ...], lun: int, seed: int | None
) -> None:
    """Give a disk these rules, in place of those that it has.

    A rule is one word of the shell: "FAULT NAME=VALUE ...".  Faults: eio, enospc, short, slow.  Names:
    access (read, write, unmap, flush), sectors (of 512 bytes), p, skip, times, seconds.

    \b
    scsipub fault disk set 4f2a "eio access=read sectors=100-199 p=0.5" --seed 7
    scsipub fault disk set 4f2a "slow seconds=2 p=0.01" "enospc skip=1000" --lun 1
    """
    answer = _ask(config, identity, lun, list(rules), seed)
    if as_json:
        show_json(answer)
    else:
        click.echo(f"{_name(answer)}: {len(answer['rules'])} rule(s), seed {answer['seed']}.")


@disk.command()
@click.argument("identity", metavar="SESSION")
@_lun
@reading
def show(config: Config, as_json: bool, identity: str, lun: int) -> None:
    """The rules of a disk, and what came of them."""
    answer = _ask(config, identity, lun, None)
    if as_json:
        show_json(answer)
        return
    click.echo(f"{answer['struck']} of {answer['accesses']} accesses were struck; seed {answer['seed']}")
    show_table(
        "Rules",
        ("#", "rule"),
        [(number, words_of(rule)) for number, rule in enumerate(answer["rules"])],
        empty="No rules.",
    )
    show_table(
        "What happened",
        ("second#", "access#", "fault", "rule#", "what", "sector#", "sectors#"),
        [
            (
                f"{event['at']:.3f}",
                event["number"],
                event["fault"],
                event["rule"],
                event["access"],
                event["first"],
                event["sectors"],
            )
            for event in answer["events"]
        ],
        empty="Nothing happened yet.",
    )


@disk.command()
@click.argument("identity", metavar="SESSION")
@_lun
@reading
def clear(config: Config, as_json: bool, identity: str, lun: int) -> None:
    """No more trouble."""
    answer = _ask(config, identity, lun, [])
    if as_json:
        show_json(answer)
    else:
        click.echo(f"{_name(answer)} is well again.")
