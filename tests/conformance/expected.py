"""What is known of the suite: tests that no target can pass, and those whose subject our disks lack.

``docs/conformance.md`` is written from these tables (``make docs``).  Everything else must pass."""

import fnmatch

import attrs

from tests.conformance.suite import Case, Outcome, Verdict


@attrs.frozen
class Impossible:
    """A test with a mistake of its own.  Only this one of its checks may fail: another one is ours."""

    test: str
    check: str
    proof: str


@attrs.frozen
class Skip:
    """A test, or a part of one, that is left out.  ``words`` are the suite's; both may hold ``*``."""

    test: str
    words: str
    reason: str


IMPOSSIBLE = (
    Impossible(
        "iSCSITMF.LUNResetSimpleAsync",
        "CU_ASSERT_EQUAL(reconnect_succeeded,1)",
        "It sends a LOGICAL UNIT RESET and, before it reads anything from the socket, asserts a flag that "
        "only the handler of the response sets. Its eight other checks pass.",
    ),
)

SKIPS = (
    Skip(
        "WriteAtomic16.VPD",
        "No * restrictions on this LUN",
        "Atomic writes may begin and end at any block, so there is no misaligned one to refuse. The rest of "
        "the test runs and passes.",
    ),
)


def excused(outcome: Outcome) -> str | None:
    """Why this outcome is as it must be, or None where somebody should look."""
    name = outcome.case.name
    if outcome.verdict is Verdict.PASSED:
        return ""
    if outcome.verdict is Verdict.SKIPPED:
        reasons = {_skip(name, words) for words in outcome.reasons}
        return None if None in reasons else " ".join(sorted(filter(None, reasons)))
    for known in IMPOSSIBLE:
        if known.test == name and all(known.check in check for check in outcome.reasons):
            return known.proof
    return None


def _skip(name: str, words: str) -> str | None:
    for skip in SKIPS:
        if fnmatch.fnmatchcase(name, skip.test) and fnmatch.fnmatchcase(words, f"*{skip.words}*"):
            return skip.reason
    return None


def unneeded(outcomes: list[Outcome]) -> list[str]:
    """Entries for tests that went as if there were none, wherever they ran: the entry can go."""
    used = {outcome.case.name for outcome in outcomes if outcome.verdict is not Verdict.PASSED}
    named = [known.test for known in IMPOSSIBLE] + [skip.test for skip in SKIPS]
    return [name for name in named if not fnmatch.filter(used, name)]


def forgotten(cases: list[Case]) -> list[str]:
    """Entries for tests that this version of the suite does not have."""
    named = [known.test for known in IMPOSSIBLE] + [skip.test for skip in SKIPS]
    return [name for name in named if not any(fnmatch.fnmatchcase(case.name, name) for case in cases)]


def impossible_rows() -> list[tuple[str, str, str]]:
    """For the document: test, check that fails, why."""
    return [(f"`{known.test}`", f"`{known.check}`", known.proof) for known in IMPOSSIBLE]


def skip_rows() -> list[tuple[str, str, str]]:
    """For the document: test, what the suite says, why."""
    return [(f"`{skip.test}`", skip.words, skip.reason) for skip in SKIPS]
