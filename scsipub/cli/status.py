"""``scsipub status``: how the daemon is."""

from collections.abc import Mapping
from typing import Any

import click
from rich.text import Text

from scsipub.cli.daemon import ask
from scsipub.cli.options import reading
from scsipub.cli.show import console, duration, harmless, show_json, show_table, size
from scsipub.config import Config

# Shown as bytes; every other counter is a plain number.
_BYTES = frozenset({"bytes_read", "bytes_written"})


@click.command()
@reading
def status(config: Config, as_json: bool) -> None:
    """How the daemon is: listeners, workers, sessions, counters."""
    answer = ask(config, "status")
    if as_json:
        show_json(answer)
        return
    out = console()
    for line in summary(answer):
        out.print(Text(harmless(line)))
    show_table(
        "Workers",
        ("index#", "pid#", "state", "sessions#", "restarts#"),
        [
            [worker.get(key, "-") for key in ("index", "pid", "state", "sessions", "restarts")]
            for worker in answer.get("workers", [])
        ],
        empty="No workers.",
    )
    show_table(
        "Counters", ("what", "how many#"), counters(answer.get("counters", {})), empty="Nothing counted."
    )


def summary(answer: Mapping[str, Any]) -> list[str]:
    """The daemon in a few lines."""
    listeners = [f"{name} {address}" for name, address in answer.get("listeners", {}).items() if address]
    control = answer.get("pids", {}).get("control", "?")
    return [
        f"scsipub {answer.get('version', '?')}, up {duration(answer.get('uptime_seconds'))}, pid {control}",
        f"listening: {', '.join(listeners) or 'nowhere'}",
        f"sessions:  {answer.get('sessions', 0)}, and {answer.get('parked', 0)} disks within their grace",
        f"images:    {answer.get('images', 0)} in {answer.get('state_dir', '?')}",
    ]


def counters(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Counters as rows; a table within (malformed PDUs by kind) becomes rows of its own."""
    rows = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}: {kind}", str(count)) for kind, count in sorted(value.items())]
        else:
            rows.append((name.replace("_", " "), size(value) if name in _BYTES else str(value)))
    return rows
