"""``scsipub session``: who is connected, and how to end that."""

import datetime
from typing import Any

import click

from scsipub.cli.daemon import ask
from scsipub.cli.options import reading
from scsipub.cli.show import harmless, show_json, show_table, since, size
from scsipub.config import Config
from scsipub.errors import OperatorError


@click.group()
def session() -> None:
    """Who is connected, and how to end that."""


@session.command("list")
@reading
def list_sessions(config: Config, as_json: bool) -> None:
    """Every session: from where, to what, since when, how much."""
    sessions = ask(config, "session.list")
    if as_json:
        show_json(sessions)
        return
    now = datetime.datetime.now(datetime.UTC)
    show_table(
        "Sessions",
        (
            "id",
            "worker#",
            "source",
            "initiator",
            "target",
            "for#",
            "read#",
            "written#",
            "IOPS#",
            "last error",
        ),
        [_row(said, now) for said in sessions],
        empty="Nobody is connected.",
    )


def _row(said: dict[str, Any], now: datetime.datetime) -> list[object]:
    iops = said.get("iops")
    return [
        said.get("id", "-"),
        said.get("worker", "-"),
        f"{said.get('source', '-')}{_way(said)}",
        said.get("initiator", "-"),
        said.get("target", "-"),
        since(said.get("since"), now),
        size(said.get("bytes_read")),
        size(said.get("bytes_written")),
        f"{iops:.0f}" if isinstance(iops, int | float) else "-",
        said.get("last_error") or "",
    ]


def _way(said: dict[str, Any]) -> str:
    if said.get("tunnel"):
        return " (tunnel)"
    return " (TLS)" if said.get("tls") else ""


@session.command()
@click.argument("identity", metavar="ID")
@reading
def kick(config: Config, as_json: bool, identity: str) -> None:
    """End a session.  ID as `session list` shows it, or its first characters.

    The initiator may log in again; its disk waits for it as after any broken connection.
    """
    chosen = choose(identity, [said.get("id") for said in ask(config, "session.list")])
    answer = ask(config, "session.kick", {"id": chosen})
    if as_json:
        show_json(answer)
    else:
        click.echo(f"Session {harmless(str(chosen))} was ended.")


def choose(identity: str, known: list[Any]) -> Any:
    """The one session meant, as the daemon names it."""
    exact = [each for each in known if str(each) == identity]
    meant = exact or [each for each in known if str(each).startswith(identity)]
    if not meant:
        raise OperatorError(
            f"There is no session {identity}.", "`scsipub session list` shows who is connected."
        )
    if len(meant) > 1:
        raise OperatorError(f"{len(meant)} sessions begin with {identity}.", "Give more of the id.")
    return meant[0]
