"""What ``scsipub connect`` does until it is told to stop: look, listen, explain or act, show.

Knows trio and rich; the tunnel itself is in ``scsipub.connect``."""

import contextlib
import functools
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import click
import trio
from rich.live import Live
from rich.text import Text

from scsipub.cli.show import error_console, harmless, size
from scsipub.connect.dial import Dial, Place, Unreachable, client_context, dial_tls
from scsipub.connect.steps import Command, Steps, shown
from scsipub.connect.tunnel import Tunnel
from scsipub.connect.websocket import Url, dial_websocket, is_url
from scsipub.errors import OperatorError


@attrs.frozen(kw_only=True)
class Wishes:
    """The command line."""

    host: str
    name: str | None
    authorities: Path | None
    own: tuple[Path, Path] | None = None  # certificate and key
    port: int
    steps: Callable[[str], Steps]  # for a local portal
    run: bool
    quiet: bool


async def keep_connected(wishes: Wishes) -> None:
    """Until SIGINT or SIGTERM.  Raises OperatorError when it cannot begin."""
    place: Place | Url
    if is_url(wishes.host):
        place = Url.parse(wishes.host, wishes.name)
    else:
        place = Place.parse(wishes.host, wishes.name)
    context = client_context(wishes.authorities, wishes.own)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            looking, showing = trio.CancelScope(), trio.CancelScope()
            dial: Dial
            if isinstance(place, Url):
                dial = functools.partial(dial_websocket, place, context, nursery)
            else:
                dial = functools.partial(dial_tls, place, context)

            async def until_told() -> None:
                async for _ in signals:
                    looking.cancel()
                    showing.cancel()

            nursery.start_soon(until_told)
            with looking:
                await _first_look(dial)
            if not looking.cancel_called:
                await _carry(wishes, place, dial, showing)
            nursery.cancel_scope.cancel()


async def _carry(wishes: Wishes, place: Place | Url, dial: Dial, showing: trio.CancelScope) -> None:
    listener = await _listen(wishes.port)
    portal = f"127.0.0.1:{listener.socket.getsockname()[1]}"
    steps = wishes.steps(portal)
    console = error_console()
    tunnel = Tunnel(dial, lambda words: console.print(Text(harmless(words))))
    console.print(Text(f"{portal} leads to {place}; {_checked(place)}."))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tunnel.serve, [listener])
        if not wishes.run:
            _explain(steps)
        # The logout at the end still needs the tunnel.
        async with _disk(steps) if wishes.run else contextlib.nullcontext():
            with showing:
                await _show(tunnel, console.is_terminal and not wishes.quiet)
        nursery.cancel_scope.cancel()


def _checked(place: Place | Url) -> str:
    if isinstance(place, Url) and not place.encrypted:
        return "it is on this machine, and not encrypted"
    name = place.place.name if isinstance(place, Url) else place.name
    return f"the certificate is good for {name}"


async def _first_look(dial: Dial) -> None:
    """Say now what would go wrong later."""
    try:
        await trio.aclose_forcefully(await dial())
    except Unreachable as why:
        raise OperatorError(
            f"{why}.",
            "Is it the right host and port, and does a firewall let it out?  Where 3261 is blocked,"
            " wss://HOST/ goes through HTTPS.",
        ) from None


async def _listen(port: int) -> trio.SocketListener:
    try:
        return (await trio.open_tcp_listeners(port, host="127.0.0.1"))[0]
    except OSError as error:
        raise OperatorError(
            f"Local port {port} cannot be had: {os.strerror(error.errno or 0)}.", "Name another --port, or 0."
        ) from None


def _explain(steps: Steps) -> None:
    """The commands on stdout and nothing else there: it may be piped into a shell."""
    for command in steps.begin():
        click.echo(shown(command))
    click.echo("# and when you are done:")
    for command in steps.end():
        click.echo(f"# {shown(command)}")


@contextlib.asynccontextmanager
async def _disk(steps: Steps) -> AsyncIterator[None]:
    """A disk of the kernel for as long as the block lasts."""
    try:
        for command in steps.begin():
            await _do(command)
        click.echo(steps.device)
        yield
    finally:
        with trio.CancelScope(shield=True):
            for command in steps.end():
                await _do(command, must=False)


async def _do(command: Command, *, must: bool = True) -> None:
    try:
        done = await trio.run_process(
            command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, start_new_session=True
        )
    except FileNotFoundError:
        raise OperatorError("There is no iscsiadm here.", "apt-get install open-iscsi") from None
    if must and done.returncode:
        said = harmless(" ".join(done.stdout.decode("utf-8", "replace").split()))
        verb = " ".join(command[7:9])
        raise OperatorError(f"iscsiadm {verb} ended with {done.returncode}: {said}", "Are you root?")


async def _show(tunnel: Tunnel, visibly: bool) -> None:
    """Throughput, once a second, until cancelled."""
    if not visibly:
        await trio.sleep_forever()
    traffic, up, down = tunnel.traffic, 0, 0
    with Live(console=error_console(), transient=True, auto_refresh=False) as live:
        while True:
            rate_up, rate_down = traffic.up - up, traffic.down - down
            up, down = traffic.up, traffic.down
            words = f"{traffic.open} open   read {size(rate_down)}/s   written {size(rate_up)}/s   "
            live.update(Text(f"{words}in all {size(down)} and {size(up)}"), refresh=True)
            await trio.sleep(1)
