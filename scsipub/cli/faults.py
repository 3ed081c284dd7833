"""``scsipub fault``: trouble for one session, to see what its initiator makes of it."""

from typing import Any

import click

from scsipub.cli.daemon import ask
from scsipub.cli.options import reading
from scsipub.cli.sessions import choose
from scsipub.cli.show import harmless, show_json, show_table
from scsipub.config import Config
from scsipub.faults.rules import NAMES
from scsipub.faults.written import LAST

_COMMANDS = {opcode: name for name, opcode in NAMES.items()}


@click.group()
def fault() -> None:
    """Trouble for one session, to see what its initiator makes of it; `disk`: for the disk beneath it."""


def session_of(config: Config, identity: str) -> Any:
    return choose(identity, [said.get("id") for said in ask(config, "session.list")])


@fault.command("set")
@click.argument("identity", metavar="SESSION")
@click.argument("rules", nargs=-1, required=True, metavar="RULE...")
@click.option("--seed", type=click.IntRange(0), help="The same again.  One is chosen unless given.")
@reading
def set_rules(config: Config, as_json: bool, identity: str, rules: tuple[str, ...], seed: int | None) -> None:
    """Give a session these rules, in place of those that it has.

    A rule is one word of the shell: "FAULT NAME=VALUE ...".  Faults: delay, medium-error, busy,
    task-set-full, drop-response, digest-error, cut.  Names: seconds, opcode, lun, lba, p, skip, times, after,
    until.

    \b
    scsipub fault set 4f2a "medium-error opcode=READ(10) lba=100-199 p=0.5" --seed 7
    scsipub fault set 4f2a "delay seconds=2 p=0.01" "cut after=60 times=1"
    """
    params = {"id": session_of(config, identity), "rules": list(rules), "seed": seed}
    answer = ask(config, "session.faults", params)
    if as_json:
        show_json(answer)
    else:
        words = f"{len(answer['rules'])} rule(s), seed {answer['seed']}."
        click.echo(f"Session {harmless(str(answer['id']))}: {words}")


@fault.command()
@click.argument("identity", metavar="SESSION")
@reading
def show(config: Config, as_json: bool, identity: str) -> None:
    """The rules of a session, and what came of them."""
    answer = ask(config, "session.faults", {"id": session_of(config, identity), "rules": None})
    if as_json:
        show_json(answer)
        return
    click.echo(f"{answer['struck']} of {answer['commands']} commands were struck; seed {answer['seed']}")
    show_table(
        "Rules",
        ("#", "rule"),
        [(number, words_of(rule)) for number, rule in enumerate(answer["rules"])],
        empty="No rules.",
    )
    show_table(
        "What happened",
        ("second#", "command#", "fault", "rule#", "operation", "LUN#", "LBA#"),
        [
            (
                f"{event['at']:.3f}",
                event["command"],
                event["fault"],
                event["rule"],
                _COMMANDS.get(event["opcode"], f"{event['opcode']:02X}h"),
                event["lun"],
                "-" if event["lba"] is None else event["lba"],
            )
            for event in answer["events"]
        ],
        empty="Nothing happened yet.",
    )


def words_of(rule: dict[str, Any]) -> str:
    """As one would write it."""
    rest = {name: value for name, value in rule.items() if name != "fault"}
    shown = {name: _value(name, value) for name, value in rest.items()}
    return " ".join([rule["fault"], *(f"{name}={value}" for name, value in shown.items())])


def _value(name: str, value: Any) -> str:
    if name == "opcode":
        return ",".join(_COMMANDS.get(each, f"{each:02X}h").replace(" ", "_") for each in value)
    if name in ("lba", "sectors"):
        return f"{value[0]}-" if value[1] == LAST else f"{value[0]}-{value[1]}"
    return str(value)


@fault.command()
@click.argument("identity", metavar="SESSION")
@reading
def clear(config: Config, as_json: bool, identity: str) -> None:
    """No more trouble."""
    answer = ask(config, "session.faults", {"id": session_of(config, identity), "rules": []})
    if as_json:
        show_json(answer)
    else:
        click.echo(f"Session {harmless(str(answer['id']))} is well again.")
