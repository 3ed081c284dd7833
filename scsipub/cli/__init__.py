"""The command line: ``scsipub serve`` and everything one asks a running daemon.

Each command is thin: it reads the configuration, asks one room, and shows the answer as a table or, with
``--json``, as JSON.  Errors are plain words on stderr and a non-zero exit, never a traceback."""

import click

from scsipub import __version__
from scsipub.cli.bench import bench
from scsipub.cli.certs import certs
from scsipub.cli.chaos import chaos
from scsipub.cli.connect import connect
from scsipub.cli.doctor import doctor
from scsipub.cli.faults import fault
from scsipub.cli.images import image
from scsipub.cli.janitor import janitor
from scsipub.cli.keys import key
from scsipub.cli.logins import attempts, secret
from scsipub.cli.rentals import target
from scsipub.cli.restart import restart
from scsipub.cli.serve import serve
from scsipub.cli.sessions import session
from scsipub.cli.status import status
from scsipub.cli.tenants import tenant, tier, token


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="scsipub")
def cli() -> None:
    """An iSCSI target for the public internet: disposable copy-on-write disks, no sign-up.

    Start with `scsipub serve`; if anything looks odd, `scsipub doctor` says what is wrong with the setup.
    """


target.add_command(attempts)
target.add_command(secret)
for _command in (
    serve,
    status,
    restart,
    session,
    image,
    target,
    tenant,
    token,
    tier,
    key,
    janitor,
    doctor,
    connect,
    certs,
    bench,
    chaos,
    fault,
):
    cli.add_command(_command)


def main() -> None:
    """Entry point of the ``scsipub`` program."""
    cli(prog_name="scsipub")
