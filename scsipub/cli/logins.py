"""``scsipub target attempts`` and ``target secret``: why a login fails, and another secret for it.

Thin: the daemon knows the causes, and what mends them."""

from typing import Any

import click

from scsipub.cli.daemon import ask, ask_all
from scsipub.cli.options import reading
from scsipub.cli.rentals import show_new, target
from scsipub.cli.show import harmless, show_json
from scsipub.config import Config


@target.command()
@click.argument("identity", metavar="[ID]", required=False)
@reading
def attempts(config: Config, as_json: bool, identity: str | None) -> None:
    """How the last logins ended, why, and what to type against it.  Without ID: to whatever name.

    What is remembered goes back to the start of the daemon, and is little for each name.
    """
    listed = ask_all(config, "target.attempts", "attempts", {"id": identity, "limit": 200})
    if as_json:
        show_json(listed)
        return
    for attempt in listed:
        show_attempt(attempt, name=identity is None)
    if not listed:
        click.echo("Nobody has tried to log in since the daemon started.")


def show_attempt(said: dict[str, Any], *, name: bool = False) -> None:
    """A line for who and when, one for why, one for the cure."""
    times = f", {said['count']} times since {said['first']}" if said["count"] > 1 else ""
    to = f" to {said['target']}" if name else ""
    status = f" ({said['status']})" if said["status"] != "0x0000" else ""
    click.echo(
        harmless(
            f"{said['last']}  {said['initiator']} from {said['source']}{to}: {said['cause']}{status}{times}"
        )
    )
    click.echo(harmless(f"    {said['words']}"))
    if said["mend"]:
        click.echo(harmless(f"    $ {said['mend']}"))


@target.command()
@click.argument("identity", metavar="ID")
@reading
def secret(config: Config, as_json: bool, identity: str) -> None:
    """Put another CHAP secret in place of the last, and show it once.

    Sessions go on; the next login needs the new one.
    """
    answer = ask(config, "target.secret", {"id": identity})
    if as_json:
        show_json(answer)
    else:
        show_new(answer)
