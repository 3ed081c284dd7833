"""``scsipub janitor``: sweep now instead of in ten minutes."""

import click

from scsipub.cli.daemon import ask
from scsipub.cli.options import reading
from scsipub.cli.show import harmless, show_json, show_table
from scsipub.config import Config


@click.group()
def janitor() -> None:
    """What nobody needs any more."""


@janitor.command()
@reading
def run(config: Config, as_json: bool) -> None:
    """Sweep overlays that nobody came back for, by the same rules as every ten minutes."""
    answer = ask(config, "janitor.run")
    if as_json:
        show_json(answer)
        return
    swept = answer.get("swept", [])
    show_table("Swept", ("overlay",), [[name] for name in swept], empty="Nothing to sweep.")
    for doubt in answer.get("doubts", []):
        click.echo(f"Left alone: {harmless(str(doubt))}")
    click.echo(f"{len(swept)} swept, {answer.get('kept', 0)} kept.")
