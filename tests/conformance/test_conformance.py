"""The acceptance suite against the daemon, on every change: no test fails and none is skipped in silence.

The whole of it on the ordinary units.  On blocks of another size and on a second LUN all but what sleeps for
most of its time; ``make conformance ARGS=--every`` leaves nothing out."""

import shutil

import pytest

from tests.conformance import expected, logins, runner, suite
from tests.conformance.setups import EVERY, ORDINARY

SLEEPERS = {"Reserve6", "iSCSIcmdsn"}

pytestmark = [
    pytest.mark.wire,
    pytest.mark.skipif(not shutil.which(suite.PROGRAM), reason=f"{suite.PACKAGE} is not installed"),
]


def test_the_tables_name_tests_that_exist():
    assert expected.forgotten(suite.cases()) == []


# A minute of it is Sanitize.Reset, which asks once a minute whether the unit is ready.
@pytest.mark.timeout(400)
async def test_every_test_ends_as_it_should(tmp_path):
    cases = suite.cases() + logins.cases()
    with runner.target(tmp_path, EVERY) as daemon:
        errands = [
            errand
            for errand in runner.errands(daemon.iscsi, EVERY, cases)
            if errand.variant == ORDINARY or not (errand.sleeps or errand.case.family in SLEEPERS)
        ]

        done = await runner.run_all(errands, 2, lambda errand, outcome: None)

        crashes = daemon.status()["counters"]["crashes"]
    surprises = [
        f"{outcome.case.name} ({errand.variant.name}): {outcome.verdict}: {'; '.join(outcome.reasons)}"
        for errand, outcome in done
        if expected.excused(outcome) is None
    ]
    assert surprises == []
    assert expected.unneeded([outcome for _, outcome in done]) == []
    assert len(done) == len(errands) > 600
    assert crashes == 0
