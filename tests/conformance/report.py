"""What a run amounts to: per family in numbers, and each exception with its reason."""

import json
from collections.abc import Sequence

import attrs
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.conformance.expected import excused
from tests.conformance.runner import Errand
from tests.conformance.suite import Outcome, Verdict

LINES_OF_A_FAILURE = 40

Done = Sequence[tuple[Errand, Outcome]]


@attrs.define
class Tally:
    """Numbers of one family, or of all.  ``impossible`` are failures that no target can avoid."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    impossible: int = 0
    unlisted: int = 0  # among the skipped, those that nobody expected

    def add(self, outcome: Outcome) -> None:
        excuse = excused(outcome)
        if outcome.verdict is Verdict.PASSED:
            self.passed += 1
        elif outcome.verdict is Verdict.SKIPPED:
            self.skipped += 1
            self.unlisted += excuse is None
        elif excuse is None:
            self.failed += 1
        else:
            self.impossible += 1

    @property
    def good(self) -> bool:
        return not self.failed and not self.unlisted

    @property
    def words(self) -> str:
        rest = f", {self.impossible} impossible" if self.impossible else ""
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped{rest}"


def families(done: Done) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for _, outcome in done:
        found.setdefault(outcome.case.family, Tally()).add(outcome)
    return found


def total(done: Done) -> Tally:
    tally = Tally()
    for _, outcome in done:
        tally.add(outcome)
    return tally


def print_report(console: Console, done: Done) -> None:
    table = Table("family", "passed", "failed", "skipped", "impossible", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for family, tally in families(done).items():
        numbers = (tally.passed, tally.failed, tally.skipped, tally.impossible)
        style = "red" if not tally.good else "dim" if not tally.passed else ""
        table.add_row(family, *(str(number or "") for number in numbers), style=style)
    console.print(table)
    for verdict in (Verdict.SKIPPED, Verdict.FAILED):
        for errand, outcome in done:
            if outcome.verdict is verdict:
                _print_exception(console, errand, outcome)
    variants = list(dict.fromkeys(errand.variant for errand, _ in done))
    for variant in variants:
        mine = [pair for pair in done if pair[0].variant == variant]
        console.print(f"{variant.name + ': ' if variant else ''}{total(mine).words}", style="bold")


def _print_exception(console: Console, errand: Errand, outcome: Outcome) -> None:
    excuse = excused(outcome)
    word = "impossible" if excuse and outcome.verdict is Verdict.FAILED else outcome.verdict
    where = f" ({errand.variant.name})" if errand.variant else ""
    style = "red" if excuse is None else "yellow"
    said = escape("; ".join(outcome.reasons))
    console.print(f"[{style}]{word:10}[/] {outcome.case.name}{where}: {said}", soft_wrap=True)
    if excuse:
        console.print(f"           {excuse}", style="dim", soft_wrap=True)
    elif outcome.verdict is Verdict.FAILED:
        last = escape("\n".join(outcome.output.splitlines()[-LINES_OF_A_FAILURE:]))
        console.print(last, style="dim", highlight=False, soft_wrap=True)


def as_json(done: Done, version: str) -> str:
    rows = [
        {
            "test": outcome.case.name,
            "variant": errand.variant.name if errand.variant else None,
            "verdict": str(outcome.verdict),
            "reasons": list(outcome.reasons),
            "excuse": excused(outcome),
            "seconds": round(outcome.seconds, 3),
        }
        for errand, outcome in done
    ]
    tallies = {family: attrs.asdict(tally) for family, tally in families(done).items()}
    return json.dumps(
        {"suite": version, "total": attrs.asdict(total(done)), "families": tallies, "tests": rows}, indent=1
    )
