"""libiscsi's acceptance suite: what tests it has, running one, and what its words mean.

Source: iscsi-test-cu(1) of Debian's libiscsi-bin 1.19 and its output (CUnit, verbose).  Knows nothing of the
target.

The suite calls a test that it skipped "passed".  It says so in a line with [SKIPPED], for some tests only
when asked for every detail (-V), and for a few it says nothing at all: then there is no detail either."""

import enum
import re
import subprocess
import time
from collections.abc import Iterable, Sequence

import attrs

PROGRAM = "iscsi-test-cu"
PACKAGE = "libiscsi-bin"
FLAGS = ("--dataloss", "--allow-sanitize", "--Verbose-scsi", "--verbose")
SECONDS = 60.0
# Sanitize.Reset asks once a minute whether the unit is ready again.
SECONDS_OF = {"Sanitize.Reset": 240.0}

_VERDICT = re.compile(r"^(passed|FAILED)|^[^\n]*\.\.\.(passed|FAILED)", re.MULTILINE)
# What the suite does to tidy up follows on the same line.
_CHECK = re.compile(r"^ {4}\d+\. (.*?)(?: {4}.*)?$", re.MULTILINE)
SILENT = "nothing was done, and nothing said"
UNCHECKED = "no word of it"


class Verdict(enum.StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@attrs.frozen(order=True)
class Case:
    """One test of the suite."""

    family: str
    test: str

    @property
    def name(self) -> str:
        return f"{self.family}.{self.test}"

    @property
    def seconds(self) -> float:
        return SECONDS_OF.get(self.name, SECONDS)


@attrs.frozen
class Outcome:
    """What became of a test.  ``reasons``: why it was skipped, or which of its checks failed."""

    case: Case
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0
    output: str = attrs.field(default="", repr=False)


def listed(text: str) -> list[Case]:
    """The tests in the output of ``--list``, in its order."""
    rows = re.findall(r"^ALL\.([^.\s]+)\.(\S+)$", text, re.MULTILINE)
    return [Case(family, test) for family, test in rows]


def cases() -> list[Case]:
    done = subprocess.run([PROGRAM, "--list"], capture_output=True, text=True, timeout=30, check=False)
    return listed(done.stdout)


def command(case: Case, urls: Sequence[str]) -> list[str]:
    return [PROGRAM, *FLAGS, f"--test=ALL.{case.name}", *urls]


def judge(case: Case, output: str, seconds: float = 0.0) -> Outcome:
    """What the output of a run of this one test says."""

    def outcome(verdict: Verdict, reasons: Iterable[str]) -> Outcome:
        return Outcome(case, verdict, tuple(dict.fromkeys(reasons)), seconds, output)

    _, found, text = output.partition(f"  Test: {case.test} ...")
    text = f"...{text}" if found else ""
    end = _VERDICT.search(text)
    if end is None:
        return outcome(Verdict.FAILED, [_last_words(output)])
    said, verdict = text[: end.start()], end[1] or end[2]
    if end[2]:  # no line of its own
        said += end[0]
    if verdict == "FAILED":
        return outcome(Verdict.FAILED, _CHECK.findall(text) or [UNCHECKED])
    skips = re.findall(r"\[SKIPPED\] *(.*)", said)
    if skips:
        return outcome(Verdict.SKIPPED, skips)
    if len([line for line in said.splitlines() if line.strip(" .")]) < 2:
        return outcome(Verdict.SKIPPED, [SILENT])
    return outcome(Verdict.PASSED, ())


def _last_words(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f"ended without a verdict: {lines[-1] if lines else 'no output'}"


def run(case: Case, urls: Sequence[str]) -> Outcome:
    """Run one test in a process of its own.  Blocks until it ends or its time is over."""
    started = time.monotonic()
    with subprocess.Popen(
        command(case, urls), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            output, _ = process.communicate(timeout=case.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            late = f"no end in {case.seconds:g} s"
            return Outcome(case, Verdict.FAILED, (late,), case.seconds, output.decode(errors="replace"))
    return judge(case, output.decode(errors="replace"), time.monotonic() - started)
