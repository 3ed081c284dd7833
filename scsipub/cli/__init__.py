"""The command line: ``scsipub serve`` and everything one asks a running daemon.

Each command is thin: it reads the configuration, asks one room, and shows the answer as a table or, with
``--json``, as JSON.  Errors are plain words on stderr and a non-zero exit, never a traceback.

A command's module is loaded when the command is wanted: ``serve`` needs no benchmark, ``status`` no TLS."""

from importlib import import_module

import click

from scsipub import __version__

# Where each command is: module and name.
COMMANDS = {
    "serve": ("serve", "serve"),
    "status": ("status", "status"),
    "restart": ("restart", "restart"),
    "session": ("sessions", "session"),
    "image": ("images", "image"),
    "target": ("logins", "target"),  # which adds to what ``rentals`` has
    "tenant": ("tenants", "tenant"),
    "token": ("tenants", "token"),
    "tier": ("tenants", "tier"),
    "key": ("keys", "key"),
    "janitor": ("janitor", "janitor"),
    "doctor": ("doctor", "doctor"),
    "connect": ("connect", "connect"),
    "certs": ("certs", "certs"),
    "bench": ("bench", "bench"),
    "chaos": ("chaos", "chaos"),
    "fault": ("disk_faults", "fault"),  # which adds to what ``faults`` has
}


class Commands(click.Group):
    """The table above."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name]
        found: click.Command = getattr(import_module(f"scsipub.cli.{module}"), attribute)
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="scsipub")
def cli() -> None:
    """An iSCSI target for the public internet: disposable copy-on-write disks, no sign-up.

    Start with `scsipub serve`; if anything looks odd, `scsipub doctor` says what is wrong with the setup.
    """


def main() -> None:
    """Entry point of the ``scsipub`` program."""
    cli(prog_name="scsipub")
