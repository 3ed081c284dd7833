"""``scsipub restart``: new worker processes, one after the other."""

import click

from scsipub.cli.daemon import ask
from scsipub.cli.options import reading
from scsipub.cli.show import show_json
from scsipub.config import Config


@click.command()
@reading
def restart(config: Config, as_json: bool) -> None:
    """Replace the worker processes one after the other, while the rest goes on.

    Initiators log in again by themselves and find their disks; a new version of the program begins to serve.
    The control process, its settings and its listeners stay as they are.
    """
    answer = ask(config, "worker.restart")
    if as_json:
        show_json(answer)
    else:
        click.echo(f"{answer['restarted']} of {answer['workers']} workers were replaced.")
