"""The acceptance suite against the daemon, on every change: no test fails and none is skipped in silence.

The same as ``make conformance ARGS=--every``: both sizes of blocks, and a second LUN."""

import shutil

import pytest

from tests.conformance import expected, logins, runner, suite
from tests.conformance.setups import EVERY

pytestmark = [
    pytest.mark.wire,
    pytest.mark.skipif(not shutil.which(suite.PROGRAM), reason=f"{suite.PACKAGE} is not installed"),
]


def test_the_tables_name_tests_that_exist():
    assert expected.forgotten(suite.cases()) == []


# A minute is what Sanitize.Reset needs: it asks once a minute whether the unit is ready.
@pytest.mark.timeout(400)
async def test_every_test_ends_as_it_should():
    cases = suite.cases() + logins.cases()
    with runner.target(EVERY) as daemon:
        errands = runner.errands(daemon.iscsi, EVERY, cases)

        done = await runner.run_all(errands, runner.JOBS, lambda errand, outcome: None)

        crashes = daemon.status()["counters"]["crashes"]
    surprises = [
        f"{outcome.case.name} ({errand.variant.name}): {outcome.verdict}: {'; '.join(outcome.reasons)}"
        for errand, outcome in done
        if expected.excused(outcome) is None
    ]
    assert surprises == []
    assert expected.unneeded([outcome for _, outcome in done]) == []
    assert len(done) == len(errands) == len(EVERY) * len(cases) > 700
    assert crashes == 0
