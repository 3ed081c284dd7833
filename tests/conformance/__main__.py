"""``make conformance``: libiscsi's acceptance suite, test by test, against a daemon of its own.

    python -m tests.conformance                          the whole suite
    python -m tests.conformance --every                  and again with 4096-byte blocks, and on a second LUN
    python -m tests.conformance --family Read10          one family; --test Read10.Simple one test
    python -m tests.conformance --url iscsi://host:3260/iqn.2025-01.example:disk/0
                                                         a unit of any target; its data is lost

Ends with 0 when nothing failed that could pass and nothing was skipped that is not listed in ``expected``."""

import fnmatch
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.conformance import logins, report, runner, suite
from tests.conformance.expected import excused
from tests.conformance.runner import Errand
from tests.conformance.setups import EVERY, Variant
from tests.conformance.suite import Case, Outcome


def chosen(cases: list[Case], families: Sequence[str], tests: Sequence[str]) -> list[Case]:
    """Those that are named, with ``*`` for anything; all when nothing is."""
    patterns = [f"{family}.*" for family in families] + list(tests)
    return [c for c in cases if not patterns or any(fnmatch.fnmatchcase(c.name, p) for p in patterns)]


def run(errands: list[Errand], jobs: int, console: Console) -> list[tuple[Errand, Outcome]]:
    """Run them behind a progress bar."""
    bar = Progress(
        TextColumn("{task.description:32}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=len(errands))

        def heard(errand: Errand, outcome: Outcome | None) -> None:
            if outcome is None:
                bar.update(task, description=errand.case.name)
                return
            bar.advance(task)
            if excused(outcome) is None:
                bar.console.print(f"[red]{outcome.verdict}[/] {outcome.case.name}")

        return trio.run(runner.run_all, errands, jobs, heard)


def suite_version() -> str:
    done = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Version}", suite.PACKAGE], capture_output=True, text=True
    )
    return done.stdout.strip()


@click.command(context_settings={"show_default": True})
@click.option("--family", "families", multiple=True, help="Only this family; may be repeated.")
@click.option(
    "--test", "tests", multiple=True, metavar="FAMILY.TEST", help="Only this test; may be repeated."
)
@click.option("--block-size", type=click.Choice(["512", "4096"]), default="512", help="Size of a block.")
@click.option("--lun", type=click.IntRange(0, 255), default=0, help="Which unit of the targets is tested.")
@click.option("--every", is_flag=True, help="Run the variants one should: both block sizes, a second LUN.")
@click.option("--url", help="An iscsi:// URL of a unit of any target.  All data on it is lost.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=runner.JOBS,
    help="Tests at the same time, on units of their own.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write every outcome to this file."
)
@click.option("--log", type=click.Path(path_type=Path), help="Keep the daemon's log in this file.")
@click.option("--list", "list_only", is_flag=True, help="Name the tests and end.")
def main(
    families: tuple[str, ...],
    tests: tuple[str, ...],
    block_size: str,
    lun: int,
    every: bool,
    url: str | None,
    jobs: int,
    json_file: Path | None,
    log: Path | None,
    list_only: bool,
) -> None:
    """Runs the suite and prints, for each family, what passed, failed and was skipped, and why."""
    if not shutil.which(suite.PROGRAM):
        raise click.ClickException(f"{suite.PROGRAM} is missing: apt-get install {suite.PACKAGE}")
    cases = chosen(suite.cases() + ([] if url else logins.cases()), families, tests)
    if list_only:
        click.echo("\n".join(case.name for case in cases))
        return
    if not cases:
        raise click.ClickException("No test of that name; --list names them.")
    console = Console()
    variants = EVERY if every else (Variant(int(block_size), lun),)
    if url:
        done = run(runner.errands_at(url, cases), jobs, console)
    else:
        with runner.target(variants) as daemon:
            done = run(runner.errands(daemon.iscsi, variants, cases), jobs, console)
            if log:
                log.write_text(daemon.log_text())
    report.print_report(console, done)
    if json_file:
        json_file.write_text(report.as_json(done, suite_version()))
    sys.exit(0 if report.total(done).good else 1)


if __name__ == "__main__":
    main()
