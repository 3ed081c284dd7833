"""``scsipub doctor``: what is wrong with a setup, and what to do about it."""

import datetime
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from scsipub.cli import checks_host, checks_net
from scsipub.cli.findings import Finding, Verdict, bad, ok
from scsipub.cli.options import failures_in_plain_words, settings
from scsipub.cli.show import show_json, show_table
from scsipub.config import Config, load_config
from scsipub.errors import OperatorError


@click.command()
@settings()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.pass_context
def doctor(context: click.Context, /, as_json: bool, **options: Any) -> None:
    """Tell what is wrong with a setup.  Give it the options you would give `serve`.

    Exit code 1 when something will not work.
    """
    with failures_in_plain_words(as_json):
        findings = list(examine(options))
        healthy = all(finding.verdict is not Verdict.BAD for finding in findings)
        if as_json:
            show_json({"ok": healthy, "findings": [attrs.asdict(finding) for finding in findings]})
        else:
            rows = [(f.verdict.upper(), f.subject, f.said, f.do) for f in findings]
            show_table(
                "Check-up", ("", "what", "how it is", "what to do"), rows, empty="Nothing was looked at."
            )
    context.exit(0 if healthy else 1)


def examine(options: dict[str, Any]) -> Iterator[Finding]:
    """Every check, in the order in which one would mend things."""
    yield from checks_host.check_variables(os.environ)
    try:
        config = load_config(options)
    except OperatorError as error:
        yield bad("configuration", error.what.rstrip("."), error.do)
        return
    yield ok("configuration", "understood")
    named = options.get("config") or os.environ.get("SCSIPUB_CONFIG")
    if named:
        yield from checks_host.check_secrets_file(Path(named).expanduser(), config)
    yield from checks_host.check_state_dir(config.state_dir)
    yield from checks_host.check_space(config)
    yield from check_images(config)
    yield from checks_host.check_descriptors()
    yield from checks_host.check_memory(config.workers, Path("/proc/meminfo").read_text())
    yield from checks_host.check_clock(time.time(), config.state_dir)
    findings, status = checks_net.check_daemon(config)
    yield from findings
    yield from checks_net.check_ports(config, status)
    yield from checks_net.check_tls(config, datetime.datetime.now(datetime.UTC))


def check_images(config: Config) -> Iterator[Finding]:
    """Every image that a configured target names is there."""
    for target in config.targets:
        for lun in target.luns:
            if lun.image is not None and not (config.images_dir / f"{lun.image}.img").exists():
                yield bad(
                    "images",
                    f"{target.name} wants the image {lun.image}, and there is none",
                    f"`scsipub image add FILE --name {lun.image}`",
                )
