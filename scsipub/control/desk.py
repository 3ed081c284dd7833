"""The desk: what workers ask and tell control.

One instance; its handlers are bound to the worker that calls.  Answers come from the catalogue and the
placement; nothing here looks at what a stranger sent beyond the few fields that a worker has cut out."""

import enum
import os
import sys
import uuid
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs
import cattrs
import trio

from scsipub.control.accept import hand_over
from scsipub.control.catalogue import Entry
from scsipub.control.causes import Cause
from scsipub.control.identities import refusal
from scsipub.control.lending import Lending
from scsipub.control.login_journal import LoginJournal
from scsipub.control.placement import Key, Place, Record
from scsipub.control.suspects import suspect_of
from scsipub.iscsi.chap import judge
from scsipub.iscsi.constants import ChapAlgorithm, LoginStatus
from scsipub.iscsi.login_records import AskSecrets
from scsipub.target.descriptor import Arrival, Verdict
from scsipub.target.discovery import PortalPolicy
from supervisor.channel import CallError, ChannelClosed, Handler
from supervisor.pool import Worker

if TYPE_CHECKING:
    from scsipub.control.app import Control

# How long a login waits for an earlier session of the same initiator to be known dead.
RIVAL_SECONDS = 3.0
# So many of them are asked, the youngest first: behind one address there may be thousands of one name.
MOST_RIVALS = 8
# Complaints for which a source is not punished.
NO_FAULT_OF_ITS_OWN = ("tls handshake", "no descriptor left")


class Rivals(enum.Enum):
    """What became of earlier sessions of the same initiator."""

    NONE = "none in the way"
    REPLACED = "one was replaced, and all it had begun has ended"
    BUSY = "one was told to end, and still waits for its disk"
    TAKE_TURNS = "two initiators of one name and ISID take turns"


class Desk:
    """See the module."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.journal = LoginJournal(control)
        self.lending = Lending(control)

    def handlers(self, worker: Worker) -> Mapping[str, Handler]:
        """What this worker may call."""
        place = (worker.index, worker.incarnation)

        def configure(params: Any, fds: list[int]) -> Any:
            self.control.suspects.watch(place, fds)
            return self.settings(worker)

        def resolve(params: Any, fds: list[int]) -> Any:
            return self.journal.judged(params, self.resolve(place, params)).to_json()

        async def admit(params: Any, fds: list[int]) -> Any:
            return self.journal.judged(params, await self.admit(place, params)).to_json()

        def hand_on(params: Any, fds: list[int]) -> Any:
            return self.hand_on(place, params, fds)

        async def disk(params: Any, fds: list[int]) -> Any:
            return await self.lending.lend(place, params)

        return {
            "configure": configure,
            "resolve": resolve,
            "admit": admit,
            "keep_reservations": self.keep_reservations,
            "hand_on": hand_on,
            "disk": disk,
            "check_secret": self.check_secret,
            "list_targets": self.list_targets,
            "opened": self.opened,
            "ended": self.ended,
            "closed": self.closed,
            "complaint": self.complaint,
            "certificate": self.certificate,
        }

    def settings(self, worker: Worker) -> dict[str, Any]:
        """What a worker needs to know before it can serve."""
        config = self.control.config
        return {
            "limits": cattrs.unstructure(config.limits),
            "portals": [
                PortalPolicy(
                    target_address=str(p.target_address), public_host=p.public_host, portal_group=group
                ).to_json()
                for group, p in enumerate(config.portals, 1)
            ],
            "overlays_dir": str(config.overlays_dir),
            "tls": self.control.tls.settings(),
            "index": worker.index,
            "incarnation": worker.incarnation,
        }

    # -- logins ------------------------------------------------------------------------------------------

    def resolve(self, place: Place, ask: Any) -> Verdict:
        """Who is this for, and who may serve it?  Claims nothing: the login may still fail."""
        control = self.control
        if ask["discovery"]:
            return Verdict()
        entry = control.catalogue.find(ask["target"])
        if entry is None:
            return _refuse(LoginStatus.NOT_FOUND, f"no target {ask['target']}", Cause.NOT_FOUND)
        if not entry.admits(ask["initiator"]):
            return _refuse(
                LoginStatus.AUTHORIZATION_FAILURE,
                "the initiator is not on the target's list",
                Cause.NOT_LISTED,
            )
        if entry.closed is not None:
            return _refuse(*entry.closed, self.journal.why_closed(entry))
        suspect = suspect_of(entry.shared, (ask["initiator"], ask["source"], entry.name))
        if control.suspects.quarantined(suspect, monotonic()):
            return _refuse(
                LoginStatus.SERVICE_UNAVAILABLE, "it has taken too many workers along", Cause.QUARANTINED
            )
        if entry.tls_required and not ask["tls"]:
            return _refuse(
                LoginStatus.AUTHORIZATION_FAILURE, "the target is for TLS only", Cause.TLS_REQUIRED
            )
        if entry.certificate_required:
            refused = refusal(entry.certificates, ask.get("certificate"))
            if refused is not None:
                return _refuse(*refused, Cause.CERTIFICATE)
        if ask["tsih"]:
            return self._second_connection(ask)
        if entry.shared:
            owner = control.placement.own(entry.name, place)
            if owner != place:
                return Verdict(hand_on=owner[0])
        try:
            return Verdict(target=control.catalogue.describe(entry, "", "0"))
        except KeyError as gone:
            return _refuse(LoginStatus.NOT_FOUND, f"image {gone} has been removed", Cause.IMAGE_GONE)

    def _second_connection(self, ask: Any) -> Verdict:
        """A session has one connection (MaxConnections=1): what asks for another is told why it cannot."""
        for record in self.control.placement.rivals((ask["initiator"], ask["source"], ask["target"])):
            if record.isid == ask["isid"] and record.tsih == ask["tsih"]:
                return _refuse(LoginStatus.TOO_MANY_CONNECTIONS, "the session has its one connection")
        return _refuse(LoginStatus.SESSION_DOES_NOT_EXIST, f"TSIH {ask['tsih']}")

    async def admit(self, place: Place, ask: Any) -> Verdict:
        """The initiator is who it says: give it its units.  Raises nothing; refusals are verdicts."""
        control, now = self.control, monotonic()
        entry = control.catalogue.find(ask["target"])
        if entry is None:
            return _refuse(LoginStatus.NOT_FOUND, f"no target {ask['target']}", Cause.NOT_FOUND)
        guest = control.guests.get(ask["connection"])
        if entry.authenticated and guest is not None and guest.proven != (entry.name, ask["principal"]):
            # A worker's word is not enough: strangers talk to workers.
            return _refuse(LoginStatus.AUTHENTICATION_FAILURE, "nobody has proved to be that user here")
        if not entry.authenticated and not control.sources.may_open(ask["source"], now):
            return _refuse(LoginStatus.OUT_OF_RESOURCES, "too many sessions of one source", Cause.SOURCE)
        if not entry.shared and control.free_bytes() < control.config.limits.pool_reserve_bytes:
            return _refuse(
                LoginStatus.OUT_OF_RESOURCES, "the file system of the overlays is nearly full", Cause.BUDGET
            )
        key = (ask["initiator"], sys.intern(ask["source"]), sys.intern(entry.name))
        rivals = await self._see_to_rivals(key, ask)
        if rivals is Rivals.TAKE_TURNS:
            return _refuse(LoginStatus.OUT_OF_RESOURCES, rivals.value, Cause.TAKE_TURNS)
        if rivals is Rivals.BUSY:
            # Its writes would land behind those of the session that replaces it.
            return _refuse(LoginStatus.SERVICE_UNAVAILABLE, rivals.value, Cause.CHANGING)
        entry = control.catalogue.find(ask["target"])
        if entry is None or entry.closed is not None:
            return _refuse(LoginStatus.NOT_FOUND, "the target went while we waited", Cause.NOT_FOUND)
        if entry.most_sessions is not None and control.placement.count(entry.name) >= entry.most_sessions:
            full = f"the target has its {entry.most_sessions} sessions"
            return _refuse(LoginStatus.OUT_OF_RESOURCES, full, Cause.SESSIONS)
        if ask["connection"] not in control.guests:
            # Closed while we waited: nobody would ever release what it were given.
            return _refuse(LoginStatus.TARGET_ERROR, "the connection is gone")
        record = Record(
            session=uuid.uuid4().hex[:16],
            connection=ask["connection"],
            place=place,
            key=key,
            isid=ask["isid"],
            portal=ask["portal"],
            tsih=ask["tsih"],
            principal=ask["principal"],
        )
        try:
            self._give_units(record, entry)
        except KeyError as gone:
            return _refuse(LoginStatus.NOT_FOUND, f"image {gone} has been removed", Cause.IMAGE_GONE)
        record.target = attrs.evolve(record.target, reinstated=rivals is Rivals.REPLACED)
        control.placement.claim(record)
        # Counted now, not when the worker says that it is open: many may ask before the first is.
        self._logged_in(record.connection)
        return Verdict(target=record.target)

    def _logged_in(self, connection: str) -> None:
        guest = self.control.guests.get(connection)
        if guest is not None and not guest.logged_in:
            guest.logged_in = True
            self.control.sources.logged_in(guest.source, monotonic())

    def _give_units(self, record: Record, entry: Entry) -> None:
        control = self.control
        if entry.shared:
            owner = control.catalogue.shared_owner(entry.name)
            described = control.catalogue.describe(entry, record.session, owner)
            kept = control.placement.reservations
            luns = tuple(
                lun if lun.persistent else attrs.evolve(lun, reservations=kept.get((entry.name, lun.lun)))
                for lun in described.luns
            )
            record.target = attrs.evolve(described, luns=luns)
            return
        parked = control.placement.take_parked(record.key, record.isid)
        if parked is None:
            record.target = control.catalogue.describe(entry, record.session, record.session)
            return
        luns = tuple(attrs.evolve(lun, adopt=parked.written) for lun in parked.target.luns)
        record.target = attrs.evolve(parked.target, session=record.session, luns=luns)
        record.returning = parked.written

    async def _see_to_rivals(self, key: Key, ask: Any) -> Rivals:
        """Earlier sessions of the same initiator: wait for the dead, reinstate what may be reinstated.

        An initiator that comes back at once may be faster than the news that its last session ended.  One
        that has proved who it is replaces its own session (RFC 7143 §6.3.5); one that has not replaces a
        session only if that does not answer any more."""
        placement = self.control.placement
        replaced = []
        with trio.move_on_after(RIVAL_SECONDS):
            for rival in placement.rivals(key)[:MOST_RIVALS]:
                while not rival.open and rival.session in placement.records:
                    await self.control.session_news.park()  # it logs in just now
                # RFC 7143 §4.4.3.1: one ISID may have a session with each portal group.
                same_port = rival.isid == ask["isid"] and rival.portal == ask["portal"]
                proven = bool(ask["principal"]) and rival.principal == ask["principal"]
                if same_port and proven:
                    if not placement.may_reinstate(key, monotonic(), self.control.config.limits):
                        return Rivals.TAKE_TURNS
                    replaced.append(rival.session)
                    await self.ask(rival, "kick")
                elif await self.ask(rival, "still_there", probe=same_port):
                    continue
                while rival.session in placement.records:
                    await self.control.session_news.park()
        if any(session in placement.records for session in replaced):
            return Rivals.BUSY
        return Rivals.REPLACED if replaced else Rivals.NONE

    async def ask(self, record: Record, method: str, **params: Any) -> bool:
        worker = self.control.worker_at(record.place)
        if worker is None:
            return False
        try:
            return bool(
                await worker.channel.call(method, {"id": record.session, **params}, timeout=RIVAL_SECONDS)
            )
        except ChannelClosed:
            return False
        except CallError:
            return True

    def hand_on(self, place: Place, params: Any, fds: list[int]) -> Any:
        """A worker passes a connection to the owner of its target."""
        control = self.control
        arrival = Arrival.from_json(params["arrival"])
        with os.fdopen(fds[0], "rb", buffering=0):
            guest = control.guests.pop(arrival.id, None)
            if guest is not None:
                control.load[place] = control.load.get(place, 1) - 1
            worker = control.ready_worker(params["worker"])
            if worker is None:
                control.sources.leaves(arrival.source, monotonic(), logged_in=False)
                raise CallError("owner_away", "the owner of the target is not ready")
            if not hand_over(control, worker, arrival, fds[0]):
                raise CallError("owner_away", "the owner of the target takes nothing")
            control.handed_on += 1
            return True

    def check_secret(self, params: Any, fds: list[int]) -> Any:
        """Is the answer to our CHAP challenge right?  An unknown user takes as long as a wrong secret."""
        entry = self.control.catalogue.find(params["target"])
        account = entry.account(params["user"]) if entry is not None else None
        mutual = params["mutual"]
        verdict = judge(
            AskSecrets(
                chap_name=params["user"],
                algorithm=ChapAlgorithm(params["algorithm"]),
                identifier=params["identifier"],
                challenge=bytes.fromhex(params["challenge"]),
                response=bytes.fromhex(params["response"]),
                mutual=(mutual["identifier"], bytes.fromhex(mutual["challenge"])) if mutual else None,
            ),
            account,
        )
        guest = self.control.guests.get(params.get("connection", ""))
        if not verdict.ok:
            self.journal.not_proven(params, known=account is not None)
        elif guest is not None:
            guest.proven = (params["target"], verdict.principal or "")
        return {
            "ok": verdict.ok,
            "principal": verdict.principal,
            "mutual_name": verdict.mutual_name,
            "mutual_response": verdict.mutual_response.hex() if verdict.mutual_response else None,
        }

    def list_targets(self, params: Any, fds: list[int]) -> Any:
        return self.control.catalogue.names(params["initiator"])

    async def keep_reservations(self, params: Any, fds: list[int]) -> Any:
        """The reservations of a shared unit, before they are in force: the next owner begins with them.

        Those of a rented unit are in the store when this returns; a CallError says that they are not."""
        if await self.control.rentals.keep_reservations(params["target"], params["lun"], params["state"]):
            return True
        self.control.placement.reservations[params["target"], params["lun"]] = params["state"]
        return True

    # -- news --------------------------------------------------------------------------------------------

    def opened(self, params: Any, fds: list[int]) -> None:
        """A login has succeeded."""
        control = self.control
        self._logged_in(params["connection"])
        record = control.placement.records.get(params["session"])
        if record is not None:
            record.open = True
            control.session_news.unpark_all()
        control.logins += 1
        self.journal.opened(params["connection"])

    def ended(self, params: Any, fds: list[int]) -> None:
        """A session is over and its disks are closed."""
        record = self.control.placement.records.get(params["session"])
        if record is not None:
            self.control.usage.ended(record.target.name, params)
        self.control.placement.release(params["session"], monotonic(), written=params["written"])
        self.control.session_news.unpark_all()

    def closed(self, params: Any, fds: list[int]) -> None:
        """A connection is closed.  A login that failed half-way lets go of what it had claimed."""
        control = self.control
        guest = control.guests.pop(params["connection"], None)
        if guest is not None:
            control.load[guest.worker] = control.load.get(guest.worker, 1) - 1
            control.sources.leaves(guest.source, monotonic(), logged_in=guest.logged_in)
        record = control.placement.by_connection.get(params["connection"])
        if record is not None:
            control.placement.release(record.session, monotonic(), written=False)
            control.session_news.unpark_all()

    def complaint(self, params: Any, fds: list[int]) -> None:
        """A peer did something wrong."""
        control, limits, now = self.control, self.control.config.limits, monotonic()
        kind, source, status = params["kind"], params["source"], params.get("status", 0)
        about = ""
        if kind == "login refused":
            control.login_failures += 1
            about = params["why"] if status == LoginStatus.NOT_FOUND else ""
            self.journal.refused(params.get("session", ""), status, params["why"])
        elif kind == "crash":
            control.crashes += 1
            control.sources.punish(source, limits.penalty_crash, now)
        elif kind not in NO_FAULT_OF_ITS_OWN and not kind.startswith("reject"):
            control.sources.punish(source, limits.penalty_malformed, now)
        if kind == "login timeout":
            self.journal.late(params.get("session", ""), params["why"])
        control.complaints.complain(
            kind if not status else f"{kind} 0x{status:04x}",
            source,
            now,
            about=about,
            why=params["why"],
            initiator=params.get("initiator", ""),
            pdu=params.get("pdu", ""),
            count=params.get("count", 1),
        )

    def certificate(self, params: Any, fds: list[int]) -> None:
        """A worker has looked at the TLS pair.  All of them see the same files: one line is enough."""
        self.control.tls.heard(params["what"], params["why"])


def _refuse(status: int, why: str, cause: Cause = Cause.OTHER) -> Verdict:
    return Verdict(refuse=int(status), why=why, cause=cause)


def free_bytes(path: str) -> int:
    """Room left on the file system of ``path``, for whom we are."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize
