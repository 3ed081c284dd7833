"""What holds for the whole suite: a skip nobody expected is a failure, nothing is timed, and no secret is
found in any log.

``make test`` sets SCSIPUB_STRICT_SKIPS, so that CI cannot turn green by not looking."""

import os
import signal

import hypothesis
import pytest

from scsipub.iscsi import chap
from scsipub.store import ids
from tests.support import secrecy
from tests.support.chance import SAME_EACH_TIME

# In the background of a shell SIGINT is ignored; programs that tests start would ignore it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Before the rooms that use them are imported: what is made in this process is known, too.
chap.generate_secret = secrecy.remembering(chap.generate_secret)
ids.new_token = secrecy.remembering(ids.new_token)

# No test is timed: a busy machine is no reason to fail.  print_blob says how to see a failure again.
hypothesis.settings.register_profile(
    "scsipub",
    deadline=None,
    print_blob=True,
    derandomize=SAME_EACH_TIME,
    database=None if SAME_EACH_TIME else hypothesis.settings.default.database,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.filter_too_much],
)
hypothesis.settings.load_profile("scsipub")

# A skip whose reason contains one of these is expected, whatever the machine.
EXPECTED_SKIPS: tuple[str, ...] = ("this kernel has no Landlock", "this kernel's Landlock knows no network")


def _skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """Why something did not run, or None where that is fine."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return None if any(expected in reason for expected in EXPECTED_SKIPS) else reason


def _fail_if_skipped(report):
    reason = _skip_reason(report) if os.environ.get("SCSIPUB_STRICT_SKIPS") else None
    if reason is not None:
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: not expected to be skipped here.  {reason}"
    return report


def _fail_if_secrets_were_logged(report):
    """The logs of daemons are searched after each test, and what the test logged itself."""
    said = "".join(text for name, text in report.sections if "log" in name or "stderr" in name)
    found = secrecy.found_in(said.encode()) + secrecy.search_logs() if report.when == "teardown" else []
    if found:
        report.outcome = "failed"
        report.longrepr = "secrets in a log:\n" + "\n".join(found)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _fail_if_secrets_were_logged(_fail_if_skipped((yield)))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """Once more, for daemons that outlived their tests."""
    found = secrecy.search_logs(again=True)
    if found:
        print("\nsecrets in a log:", *found, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _fail_if_skipped((yield))
