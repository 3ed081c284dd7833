"""What the acceptance suite's words mean."""

import pytest

from tests.conformance import expected, report
from tests.conformance.expected import IMPOSSIBLE, excused
from tests.conformance.runner import Errand
from tests.conformance.suite import SILENT, Case, Outcome, Verdict, judge, listed

SIMPLE = Case("Read10", "Simple")
BEFORE = """    Send MODESENSE6 (Expecting SUCCESS)
    [SKIPPED] PERSISTENT RESERVE IN is not implemented.

     CUnit - A unit testing framework for C - Version 2.1-3

Suite: Read10
  Test: Simple ..."""
AFTER = """    Send PRIN/READ_KEYS
    [SKIPPED] PERSISTENT RESERVE IN is not implemented.

Run Summary:    Type  Total    Ran Passed Failed Inactive
               tests      1      1      1      0        0
"""
DETAIL = """
    Test READ10 of 1-256 blocks at the start of the LUN
    Send READ10 (Expecting SUCCESS) LBA:0 blocks:1
    [OK] READ10 returned SUCCESS.
"""


def said(words: str) -> Outcome:
    return judge(SIMPLE, BEFORE + words + AFTER)


def test_the_list_has_each_test_once():
    text = "ALL\nALL.Read10\nALL.Read10.Simple\nALL.Read10.DpoFua\nSCSI\nSCSI.Read10.Simple\n"

    assert listed(text) == [SIMPLE, Case("Read10", "DpoFua")]


def test_a_test_that_did_something_and_passed_has_passed():
    """What the tool skips while it gets ready and tidies up is none of the test's."""
    assert said(DETAIL + "passed").verdict is Verdict.PASSED


@pytest.mark.parametrize("lines", ["passed", "\n    Test READ10\npassed"])
def test_a_test_that_passed_without_doing_anything_was_skipped(lines):
    assert (said(lines).verdict, said(lines).reasons) == (Verdict.SKIPPED, (SILENT,))


def test_a_skip_is_told_although_the_tool_says_passed():
    outcome = said(DETAIL + "    [SKIPPED] No alignment restrictions on this LUN\npassed")

    assert (outcome.verdict, outcome.reasons) == (Verdict.SKIPPED, ("No alignment restrictions on this LUN",))


def test_a_failure_names_the_checks_that_failed_and_nothing_of_what_follows():
    outcome = said(DETAIL + "FAILED\n    1. a.c:71  - CU_ASSERT_EQUAL(_r,0)\n    2. a.c:9  - CU_FAIL(x)")

    assert outcome.verdict is Verdict.FAILED
    assert outcome.reasons == ("a.c:71  - CU_ASSERT_EQUAL(_r,0)", "a.c:9  - CU_FAIL(x)")


@pytest.mark.parametrize("output", ["", "Login Failed.", BEFORE, BEFORE + DETAIL])
def test_no_verdict_is_a_failure(output):
    """The tool crashed, or never got as far as the test."""
    assert judge(SIMPLE, output).verdict is Verdict.FAILED


def test_what_is_not_in_the_table_is_not_excused():
    assert excused(Outcome(SIMPLE, Verdict.FAILED, ("a.c:1  - CU_FAIL(x)",))) is None
    assert excused(Outcome(SIMPLE, Verdict.SKIPPED, ("some reason",))) is None
    assert excused(Outcome(SIMPLE, Verdict.PASSED)) is not None


def test_an_impossible_test_may_fail_in_its_impossible_check_only():
    known = IMPOSSIBLE[0]
    case = Case(*known.test.split("."))
    check = f"a.c:157  - {known.check}"

    assert excused(Outcome(case, Verdict.FAILED, (check,))) == known.proof
    assert excused(Outcome(case, Verdict.FAILED, (check, "a.c:9  - CU_FAIL(x)"))) is None


def test_a_skip_is_excused_for_its_own_reason_only():
    case = Case("WriteAtomic16", "VPD")

    assert excused(Outcome(case, Verdict.SKIPPED, ("No granularity restrictions on this LUN",)))
    assert excused(Outcome(case, Verdict.SKIPPED, ("WRITEATOMIC16 is not implemented.",))) is None


def test_entries_that_nothing_needs_any_more_are_named():
    passed = [Outcome(Case(*known.test.split(".")), Verdict.PASSED) for known in IMPOSSIBLE]

    assert {known.test for known in IMPOSSIBLE} <= set(expected.unneeded(passed))


def test_a_run_is_good_when_every_exception_is_listed():
    def total(*outcomes: Outcome) -> report.Tally:
        return report.total([(Errand(o.case, None, "", lambda o=o: o), o) for o in outcomes])

    listed_skip = Outcome(
        Case("WriteAtomic16", "VPD"), Verdict.SKIPPED, ("No alignment restrictions on this LUN",)
    )

    assert total(Outcome(SIMPLE, Verdict.PASSED), listed_skip).good
    assert not total(Outcome(SIMPLE, Verdict.SKIPPED, ("because",))).good
    assert not total(Outcome(SIMPLE, Verdict.FAILED, ("because",))).good
