"""``scsipub key``: the keys under which secrets lie in the database.

Thin: the daemon does all of it, over the control socket."""

import click

from scsipub.cli.daemon import ask
from scsipub.cli.options import reading
from scsipub.cli.show import show_json
from scsipub.config import Config


@click.group()
def key() -> None:
    """Keys of the secrets in the database."""


@key.command("rotate")
@reading
def rotate(config: Config, as_json: bool) -> None:
    """Make a new key, seal every secret with it, and remove the old one.

    Initiators notice nothing: their secrets stay the same.  Back up `keys/` in the state directory again; a
    backup of the database from before needs the old key.
    """
    answer = ask(config, "key.rotate", {})
    if as_json:
        show_json(answer)
    else:
        number = answer["resealed"]
        click.echo(
            f"{number} CHAP secret{'s' * (number != 1)} lie under a new key now.  Back up keys/ again."
        )
