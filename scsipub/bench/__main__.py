"""``python -m scsipub.bench iscsi://HOST:PORT/TARGET/LUN``: measure a target, print a line or JSON."""

import json
from typing import Any

import click

from scsipub.bench.client import run
from scsipub.bench.job import Digests, Job
from scsipub.bench.wire import TargetError, Url

_JOB = Job()


@click.command(context_settings={"show_default": True})
@click.argument("url")
@click.option("--depth", default=_JOB.depth, help="Commands in flight, per connection.")
@click.option("--block-size", default=_JOB.block_size, help="Bytes a command transfers.")
@click.option("--read", "read_percent", default=_JOB.read_percent, help="Percent of reads; the rest writes.")
@click.option("--sequential", is_flag=True, help="Block after block instead of at random.")
@click.option("--seconds", default=_JOB.seconds)
@click.option("--ramp", "ramp_seconds", default=_JOB.ramp_seconds, help="Seconds before counting begins.")
@click.option("--connections", default=_JOB.connections)
@click.option("--spin", is_flag=True, help="Poll the socket instead of sleeping; costs a core.")
@click.option("--span", "span_bytes", default=_JOB.span_bytes, help="Use only so many bytes of the unit.")
@click.option("--seed", default=_JOB.seed)
@click.option(
    "--digests",
    type=click.Choice([mode.value for mode in Digests]),
    default=_JOB.digests.value,
    help="CRC32C of headers and data; checking those that come back costs this client time.",
)
@click.option("--json", "as_json", is_flag=True)
def main(url: str, as_json: bool, **job: Any) -> None:
    """Measures the logical unit at URL."""
    try:
        report = run(Url.parse(url), Job(**job))
    except (OSError, ValueError, TargetError) as error:
        raise click.ClickException(str(error)) from error
    said = report.as_json()
    if as_json:
        click.echo(json.dumps(said))
        return
    latency = " ".join(f"{name} {value}" for name, value in said["latency_us"].items())
    click.echo(
        f"{said['iops']:,.0f} IOPS  {said['mib_per_second']:,.0f} MiB/s  latency in µs: {latency}  "
        f"client CPU {said['client_cpu_us_per_operation']} µs an operation"
    )


if __name__ == "__main__":
    main()
