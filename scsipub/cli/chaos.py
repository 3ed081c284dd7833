"""``scsipub chaos``: a port in front of a target, through bad weather.

Runs anywhere, needs no daemon.  Knows click; what happens is in ``scsipub.faults``."""

import json
import signal
from typing import Any

import attrs
import click

from scsipub.cli.options import failures_in_plain_words
from scsipub.cli.show import harmless
from scsipub.connect.dial import Place
from scsipub.faults.weather import Climate, Happened

_FINE = Climate()
_CHANCE = click.FloatRange(0, 1)
_SECONDS = click.FloatRange(0, 3600)


@click.command(context_settings={"show_default": True})
@click.argument("target", metavar="HOST:PORT")
@click.option("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="Port 0 picks a free one.")
@click.option("--cut", default=_FINE.cut, type=_CHANCE, help="Chance that a piece ends the connection.")
@click.option("--reset", default=_FINE.reset, type=_CHANCE, help="The same, with RST.")
@click.option("--stall", default=_FINE.stall, type=_CHANCE, help="Chance that nothing moves for a while.")
@click.option("--stall-seconds", default=_FINE.stall_seconds, type=_SECONDS, help="For so long.")
@click.option("--hang", default=_FINE.hang, type=_CHANCE, help="Chance that nothing moves any more.")
@click.option("--crumbs", default=_FINE.crumbs, type=_CHANCE, help="Chance that a piece goes byte by byte.")
@click.option("--flip", default=_FINE.flip, type=_CHANCE, help="Chance that a bit is wrong.")
@click.option("--delay", default=_FINE.delay, type=_SECONDS, help="Seconds that every piece is late.")
@click.option("--coalesce", default=_FINE.coalesce, type=_SECONDS, help="Keep pieces so long, send as one.")
@click.option("--rate", default=_FINE.rate, type=click.FloatRange(0), help="Bytes a second; 0: no bound.")
@click.option("--seed", default=_FINE.seed, help="The same seed and traffic: the same weather.")
@click.option("--json", "as_json", is_flag=True, help="An object a line.")
def chaos(target: str, listen: str, as_json: bool, **climate: Any) -> None:
    """Carries a local port to the target at HOST:PORT through cuts, stalls and worse.

    Chances are for each piece of up to 64 KiB that arrives.  What happens is told as it happens: when, on
    which connection, in which direction, and at which byte of its stream.  Ends with Ctrl-C.
    """
    with failures_in_plain_words(as_json):
        # Late, so that the other commands need not load what only this one needs.
        import trio

        trio.run(_serve, Place.parse(target), Place.parse(listen, least=0), Climate(**climate), as_json)


async def _serve(target: Place, at: Place, climate: Climate, as_json: bool) -> None:
    import trio

    from scsipub.faults.proxy import Proxy, listen

    def tell(happened: Happened) -> None:
        if as_json:
            click.echo(json.dumps(attrs.asdict(happened)))
        else:
            where = f"connection {happened.connection} {happened.way:>4}, byte {happened.offset}"
            click.echo(harmless(f"{happened.at:9.3f} s  {where}: {happened.what}"))

    listeners = await listen(at.host, at.port)
    proxy = Proxy(target.host, target.port, climate, tell)
    host, port = listeners[0].socket.getsockname()[:2]
    if as_json:
        click.echo(json.dumps({"listening": f"{host}:{port}", "target": str(target)}))
    else:
        click.echo(f"{host}:{port} leads to {target}")
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.serve, listeners)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break
    said = {key: value for key, value in proxy.to_json().items() if key in ("connections", "bytes")}
    if as_json:
        click.echo(json.dumps(said))
    else:
        click.echo(f"{said['connections']} connections, {said['bytes']} bytes, {len(proxy.timeline)} events")
