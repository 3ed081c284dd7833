"""Logins with CHAP, beside the suite: its own initiator knows MD5 only, ours knows every algorithm.

Source: RFC 7143 §12.1, RFC 1994.  Reported as a family of the suite, called Login."""

import time
from collections.abc import Callable, Mapping
from functools import partial

import attrs

from tests.conformance import suite
from tests.conformance.setups import CHAP, MUTUAL, SECRET, TARGET_SECRET, USER, Variant
from tests.conformance.suite import Case, Outcome, Verdict
from tests.support import chap
from tests.support.initiator import Initiator, LoginFailed

FAMILY = "Login"
ALGORITHMS = {"MD5": "5", "SHA-1": "6", "SHA-256": "7", "SHA3-256": "8"}
TEST_UNIT_READY = bytes(6)


class NotAsItShould(Exception):
    """The login went another way."""


@attrs.frozen
class Portal:
    """Where, and to whom."""

    address: str
    variant: Variant

    def url(self, credentials: str = "") -> str:
        name = self.variant.iscsi_name(CHAP)
        return f"iscsi://{credentials}{self.address}/{name}/{self.variant.lun}"


def _login(portal: Portal, algorithm: str, *, secret: str = SECRET, mutual: bool = False) -> None:
    target = portal.variant.iscsi_name(MUTUAL if mutual else CHAP)
    with Initiator(portal.address, lun=portal.variant.lun) as who:
        chap.login_chap(
            who,
            target,
            USER,
            secret.encode(),
            algorithms=algorithm,
            mutual=TARGET_SECRET.encode() if mutual else None,
        )
        who.command(TEST_UNIT_READY)  # any status will do: the session serves commands
        who.logout()


def _refused(portal: Portal, algorithm: str) -> None:
    try:
        _login(portal, algorithm, secret=SECRET + "?")
    except LoginFailed as failed:
        if failed.status != 0x0201:
            raise NotAsItShould(f"refused with {failed.status:04x} instead of 0201") from None
        return
    raise NotAsItShould("a wrong secret was let in")


def _suite_logs_in(portal: Portal) -> None:
    done = suite.run(Case("TestUnitReady", "Simple"), [portal.url(f"{USER}%{SECRET}@")])
    if done.verdict is not Verdict.PASSED:
        raise NotAsItShould("; ".join(done.reasons))


def _tests() -> Mapping[str, Callable[[Portal], None]]:
    tests: dict[str, Callable[[Portal], None]] = {"Suite": _suite_logs_in}
    for name, number in ALGORITHMS.items():
        tests[name] = partial(_login, algorithm=number)
        tests[f"{name}.Mutual"] = partial(_login, algorithm=number, mutual=True)
        tests[f"{name}.WrongSecret"] = partial(_refused, algorithm=number)
    return tests


TESTS = _tests()


def cases() -> list[Case]:
    return [Case(FAMILY, test) for test in TESTS]


def run(case: Case, portal: Portal) -> Outcome:
    started = time.monotonic()
    try:
        TESTS[case.test](portal)
    except (LoginFailed, NotAsItShould, chap.WrongProof, OSError, KeyError) as error:
        why = f"{type(error).__name__}: {error}"
        return Outcome(case, Verdict.FAILED, (why,), time.monotonic() - started)
    return Outcome(case, Verdict.PASSED, (), time.monotonic() - started)
