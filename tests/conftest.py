"""What holds for the whole suite: a skip nobody expected is a failure, and nothing is timed.

``make test`` sets SCSIPUB_STRICT_SKIPS, so that CI cannot turn green by not looking."""

import os

import hypothesis
import pytest

# No test is timed: a busy machine is no reason to fail.  print_blob says how to see a failure again.
hypothesis.settings.register_profile(
    "scsipub",
    deadline=None,
    print_blob=True,
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _fail_if_skipped((yield))
