"""``scsipub serve``: read the configuration and hand it to control."""

from typing import Any

import click

from scsipub.cli.options import refusals_in_plain_words, settings
from scsipub.config import load_config


@click.command()
@settings()
def serve(**options: Any) -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C.

    What is not given here is taken from a SCSIPUB_ variable, then from the file, then from the default.
    """
    with refusals_in_plain_words():
        config = load_config(options)
        # Late, so that the other commands need not load the daemon.
        from scsipub.control.app import run

        run(config)
