"""``scsipub connect``: the client's end of iSCSI over TLS, in place of a hand-made stunnel.

Runs where the initiator runs, needs no daemon.  Knows click; what happens then is in ``connecting``."""

import os
from pathlib import Path

import click

from scsipub.cli.options import failures_in_plain_words
from scsipub.connect.steps import SECRET_WORD, Steps

SECRET_VARIABLE = "SCSIPUB_CHAP_SECRET"


@click.command()
@click.argument("host", metavar="HOST[:PORT]|wss://HOST[/PATH]")
@click.option("--target", required=True, metavar="IQN", help="The target's whole name.")
@click.option("--port", default=3260, show_default=True, help="Local port; 0 picks a free one.")
@click.option("--ca", type=click.Path(path_type=Path), metavar="FILE", help="Believe these authorities only.")
@click.option(
    "--certificate", type=click.Path(path_type=Path), metavar="FILE", help="Show this one when asked."
)
@click.option(
    "--key", type=click.Path(path_type=Path), metavar="FILE", help="Its key, if not in the same file."
)
@click.option("--name", metavar="NAME", help="The name in the certificate, when it is not HOST.")
@click.option("--user", metavar="NAME", help=f"CHAP user; the secret is asked for, or in {SECRET_VARIABLE}.")
@click.option("--run", is_flag=True, help="Run the iscsiadm commands, and undo them at the end.")
@click.option("--quiet", is_flag=True, help="Show no throughput.")
def connect(
    host: str,
    target: str,
    port: int,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    name: str | None,
    user: str | None,
    run: bool,
    quiet: bool,
) -> None:
    """Open a local port that carries iSCSI over TLS to HOST, port 3261 unless told otherwise.

    Where only HTTPS gets out, wss://HOST carries it in a WebSocket instead.

    The certificate is checked first.  What open-iscsi must be told is printed, or done with --run.  Ends with
    Ctrl-C.
    """
    with failures_in_plain_words(False):
        # Late, so that the other commands need not load what only this one needs.
        import trio

        from scsipub.cli.connecting import Wishes, keep_connected

        secret = SECRET_WORD
        if user is not None and run:
            secret = os.environ.get(SECRET_VARIABLE) or click.prompt("CHAP secret", hide_input=True)
        wishes = Wishes(
            host=host,
            name=name,
            authorities=ca,
            own=(certificate, key or certificate) if certificate is not None else None,
            port=port,
            steps=lambda portal: Steps(target, portal, user, secret),
            run=run,
            quiet=quiet,
        )
        trio.run(keep_connected, wishes)
