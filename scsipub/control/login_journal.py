"""The journal of logins: what the desk decides, and what a worker decided by itself, told to ``attempts``.

A login is noted once: by the verdict that refuses it, or when the worker says how it ended.  Between the two
its connection remembers what it wants."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs

from scsipub.control.attempts import Attempt, Attempts
from scsipub.control.catalogue import Entry
from scsipub.control.causes import Cause, explain, of_worker
from scsipub.control.rented import GROWING, RentedEntry
from scsipub.iscsi.constants import LoginStatus
from scsipub.store.records import TargetState
from scsipub.target.descriptor import Verdict

if TYPE_CHECKING:
    from scsipub.control.app import Control

STATES = {
    TargetState.SUSPENDED: Cause.SUSPENDED,
    TargetState.EXPIRED: Cause.EXPIRED,
    TargetState.OFFLINE: Cause.OFFLINE,
}


class LoginJournal:
    """One per desk."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.attempts = Attempts()

    # -- what happens ------------------------------------------------------------------------------------

    def judged(self, ask: Any, verdict: Verdict) -> Verdict:
        """The desk has spoken."""
        if ask.get("discovery"):
            return verdict
        guest = self.control.guests.get(ask["connection"])
        if verdict.refuse is not None:
            cause = Cause(verdict.cause) if verdict.cause else Cause.OTHER
            self._note(ask["target"], ask["initiator"], ask["source"], cause, verdict.refuse, verdict.why)
        if guest is not None:
            settled = verdict.refuse is not None or verdict.hand_on is not None
            guest.wants = None if settled else (ask["target"], ask["initiator"])
        return verdict

    def not_proven(self, said: Any, *, known: bool) -> None:
        """CHAP failed; ``known``: there is such a user."""
        guest = self.control.guests.get(said.get("connection", ""))
        if guest is None or guest.wants is None:
            return
        (target, initiator), guest.wants = guest.wants, None
        cause = Cause.WRONG_SECRET if known else Cause.UNKNOWN_USER
        status = LoginStatus.AUTHENTICATION_FAILURE
        self._note(target, initiator, guest.source, cause, status, "CHAP failed", user=said["user"])

    def refused(self, connection: str, status: int, why: str) -> None:
        """By a worker; nothing if the desk did it and has told already."""
        self._end(connection, of_worker(status, why), status, why)

    def late(self, connection: str, why: str) -> None:
        self._end(connection, Cause.LATE, 0, why)

    def opened(self, connection: str) -> None:
        self._end(connection, Cause.LOGGED_IN, 0, "")

    def _end(self, connection: str, cause: Cause, status: int, why: str) -> None:
        guest = self.control.guests.get(connection)
        if guest is not None and guest.wants is not None:
            (target, initiator), guest.wants = guest.wants, None
            self._note(target, initiator, guest.source, cause, status, why)

    def _note(
        self, target: str, initiator: str, source: str, cause: Cause, status: int, why: str, user: str = ""
    ) -> None:
        here = self.control.catalogue.find(target) is not None
        at = datetime.now(UTC)
        self.attempts.note(
            target, initiator, source, cause, at, user=user, status=int(status), why=why, here=here
        )

    def why_closed(self, entry: Entry) -> Cause:
        """Nobody may log in to it: for which reason?"""
        if entry.closed == GROWING:
            return Cause.CHANGING
        target = self.control.rentals.known.get(entry.name.rpartition(":")[2])
        return STATES.get(target.state, Cause.OTHER) if target is not None else Cause.OTHER

    # -- what is told ------------------------------------------------------------------------------------

    def told(self, attempts: list[Attempt]) -> list[dict[str, Any]]:
        """For people and programs: each with its cause in words, and with what mends it."""
        portal = self.control.console.counter.portal()
        return [self._told(attempt, portal) for attempt in attempts]

    def _told(self, attempt: Attempt, portal: str) -> dict[str, Any]:
        entry = self.control.catalogue.find(attempt.target)
        account = ""
        if isinstance(entry, RentedEntry):
            account = next((each.user for each in entry.accounts), "")
        words, mend = explain(
            attempt.cause,
            target=attempt.target,
            id=attempt.target.rpartition(":")[2],
            portal=portal,
            host=portal.rpartition(":")[0],
            user=attempt.user,
            account=account,
            why=attempt.why,
        )
        said = attrs.asdict(attempt) | {
            "cause": str(attempt.cause),
            "status": f"0x{attempt.status:04x}",
            "first": attempt.first.isoformat(timespec="seconds"),
            "last": attempt.last.isoformat(timespec="seconds"),
            "words": words,
            "mend": mend,
        }
        del said["why"]
        return said
