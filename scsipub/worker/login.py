"""Login on a socket: reads PDUs, asks control what only control knows, ends in a session or in nothing.

Source: RFC 7143 §6.3; the rules are in ``iscsi.login``, this is its pump.  Knows trio and sockets.
Everything is bounded before it is read: a header that promises more than a login PDU may hold ends the
connection, and the deadline counts from accept."""

import base64
import socket
from typing import TYPE_CHECKING, Any

import attrs
import trio

from scsipub.errors import FramingLost, LoginRefused
from scsipub.iscsi import pdu
from scsipub.iscsi.chap import at_least
from scsipub.iscsi.constants import ChapAlgorithm, LoginStatus, Opcode
from scsipub.iscsi.framing import BHS
from scsipub.iscsi.login import (
    AskCatalogue,
    AskSecrets,
    AuthPolicy,
    LoginFinished,
    LoginPhase,
    LoginRedirected,
    Negotiated,
    Outcome,
    Redirect,
    Respond,
    SecretsVerdict,
    TargetFound,
)
from scsipub.iscsi.pdu import wire
from scsipub.target.descriptor import Arrival, TargetDescriptor, Verdict
from scsipub.worker.output import PeerGone
from scsipub.worker.tls import AnySocket, TlsSocket
from supervisor.channel import CallError, ChannelClosed

if TYPE_CHECKING:
    from scsipub.worker.main import Worker


TLS_HANDSHAKE = 0x16  # RFC 8446 §5.1: the content type of a ClientHello
HTTP_VERBS = (b"GET ", b"POST", b"HEAD", b"OPTI", b"CONN", b"PUT ")


@attrs.define(kw_only=True)
class LoggedIn:
    """A login that succeeded.  The final response is packed but not sent: the disks are opened first."""

    parameters: Negotiated
    response: bytes  # as it goes over the wire
    stat_sn: int  # of the first answer in full feature phase
    target: TargetDescriptor | None  # None: a discovery session
    tail: bytes  # what came behind the last login PDU
    session: str


class Login:
    """One login.  ``run`` returns None when the connection went to another worker."""

    def __init__(self, worker: "Worker", arrival: Arrival, sock: AnySocket) -> None:
        self.worker = worker
        self.sock = sock
        self.data = bytearray(base64.b64decode(arrival.head))
        self.answered = arrival.answered
        self.arrival = attrs.evolve(arrival, head="") if arrival.head else arrival
        self.read_so_far = b""
        tsih = int(arrival.id[:4], 16) or 1
        self.phase = LoginPhase(limits=worker.limits, random=worker.random, tsih=tsih)
        self.target: TargetDescriptor | None = None
        self.initiator = ""
        self.relay_to: socket.socket | None = None  # the owner's end of a TLS connection that we handed on

    async def run(self) -> LoggedIn | None:
        try:
            while True:
                outcomes = self.phase.receive(await self._read())
                while outcomes:
                    outcome = outcomes.pop(0)
                    if isinstance(outcome, LoginFinished):
                        return await self._admitted(outcome)
                    more = await self._follow(outcome)
                    if more is None:
                        return None
                    outcomes += more
        except LoginRefused as refused:
            await self.refuse(refused)
            raise

    async def _follow(self, outcome: Outcome) -> list[Outcome] | None:
        if isinstance(outcome, Respond):
            if self.answered:
                self.answered -= 1  # the worker that began this login has sent it
            else:
                await self.send(wire(outcome.response))
            return []
        if isinstance(outcome, LoginRedirected):
            await self.send(wire(outcome.response))
            raise PeerGone(f"redirected to {outcome.address}")
        if isinstance(outcome, AskCatalogue):
            return await self._ask_catalogue(outcome)
        if isinstance(outcome, AskSecrets):
            return self.phase.secrets_say(await self._ask_secrets(outcome))
        raise LoginRefused(LoginStatus.TARGET_ERROR, f"no way to follow {outcome!r}")

    # -- control -----------------------------------------------------------------------------------------

    async def _ask_catalogue(self, ask: AskCatalogue) -> list[Outcome] | None:
        self.initiator = ask.initiator_name
        arrival = self.arrival
        answer = await self._call(
            "resolve",
            {
                "connection": arrival.id,
                "discovery": ask.session_type == "Discovery",
                "initiator": ask.initiator_name,
                "target": ask.target_name or "",
                "isid": ask.isid.hex(),
                "tsih": ask.tsih,
                "cid": ask.cid,
                "source": arrival.source,
                "portal": arrival.portal,
                "tls": arrival.tls,
                "certificate": arrival.certificate.to_json() if arrival.certificate else None,
            },
        )
        verdict = Verdict.from_json(answer)
        if verdict.refuse is not None:
            raise LoginRefused(verdict.refuse, verdict.why)
        if verdict.hand_on is not None:
            await self._hand_on(verdict.hand_on, ask.answered)
            return None
        if verdict.redirect is not None:
            return list(self.phase.catalogue_says(Redirect(verdict.redirect)))
        if verdict.target is None:
            return list(self.phase.catalogue_says(TargetFound(auth=AuthPolicy())))
        self.target = verdict.target
        auth = verdict.target.auth
        return list(
            self.phase.catalogue_says(
                TargetFound(
                    auth=AuthPolicy(
                        required=auth.required,
                        algorithms=at_least(ChapAlgorithm(auth.algorithm_floor)) if auth.required else (),
                        mutual=auth.mutual,
                    ),
                    portal_group_tag=self.arrival.portal + 1,
                )
            )
        )

    async def _admitted(self, finished: LoginFinished) -> LoggedIn:
        """Everything is agreed: now the units, before the initiator hears of it."""
        parameters, target, session = finished.parameters, None, self.arrival.id
        if self.target is not None:
            answer = await self._call(
                "admit",
                {
                    "connection": self.arrival.id,
                    "target": self.target.name,
                    "initiator": parameters.initiator_name,
                    "isid": parameters.isid.hex(),
                    "tsih": parameters.tsih,
                    "principal": finished.principal or "",
                    "portal": self.arrival.portal,
                    "source": self.arrival.source,
                },
            )
            verdict = Verdict.from_json(answer)
            if verdict.target is None:
                raise LoginRefused(verdict.refuse or LoginStatus.TARGET_ERROR, verdict.why)
            target, session = verdict.target, verdict.target.session
        return LoggedIn(
            parameters=parameters,
            response=wire(finished.response),
            stat_sn=(finished.response.stat_sn + 1) & 0xFFFFFFFF,
            target=target,
            tail=bytes(self.data),
            session=session,
        )

    async def _ask_secrets(self, ask: AskSecrets) -> SecretsVerdict:
        mutual = None
        if ask.mutual is not None:
            mutual = {"identifier": ask.mutual[0], "challenge": ask.mutual[1].hex()}
        answer = await self._call(
            "check_secret",
            {
                "connection": self.arrival.id,
                "target": self.target.name if self.target else "",
                "user": ask.chap_name,
                "algorithm": ask.algorithm,
                "identifier": ask.identifier,
                "challenge": ask.challenge.hex(),
                "response": ask.response.hex(),
                "mutual": mutual,
            },
        )
        return SecretsVerdict(
            ok=bool(answer["ok"]),
            principal=str(answer.get("principal") or ""),
            mutual_name=answer.get("mutual_name"),
            mutual_response=bytes.fromhex(answer["mutual_response"])
            if answer.get("mutual_response")
            else None,
        )

    async def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.worker.control.call(method, params)
        except (CallError, ChannelClosed) as error:
            raise LoginRefused(LoginStatus.SERVICE_UNAVAILABLE, f"control did not answer: {error}") from error
        if not isinstance(answer, dict):
            raise LoginRefused(LoginStatus.TARGET_ERROR, f"control answered {answer!r}")
        return answer

    async def _hand_on(self, worker: int, answered: int) -> None:
        """Nothing that matters has been answered yet, so the owner can begin where we began."""
        head = base64.b64encode(self.read_so_far + bytes(self.data)).decode()
        arrival = attrs.evolve(self.arrival, head=head, answered=answered)
        given: AnySocket = self.sock
        if isinstance(self.sock, TlsSocket):
            # Keys cannot be passed on: the owner gets a pipe, and we carry what goes through it.
            arrival = attrs.evolve(arrival, relayed=True)
            self.relay_to, given = socket.socketpair()
            self.relay_to.setblocking(False)
        params = {"worker": worker, "arrival": arrival.to_json()}
        try:
            # Once asked, control may have done it: we must hear the answer before anything ends us.
            with trio.CancelScope(shield=True):
                await self.worker.control.call("hand_on", params, fds=[given.fileno()])
        except (CallError, ChannelClosed) as error:
            raise LoginRefused(
                LoginStatus.SERVICE_UNAVAILABLE, f"the owner cannot be reached: {error}"
            ) from error
        finally:
            if given is not self.sock:
                given.close()

    # -- the socket --------------------------------------------------------------------------------------

    async def _read(self) -> pdu.LoginRequest:
        """The next Login Request.  Raises FramingLost for anything else: it gets no answer."""
        data = self.data
        await self._fill(1)
        # The I bit of a Login Request is always set; HTTP or a TLS hello ends here, at its first byte.
        if data[0] != 0x40 | Opcode.LOGIN_REQUEST:
            raise self._stranger()
        await self._fill(BHS)
        ahs, length = data[4] * 4, int.from_bytes(data[5:8])
        if length > self.worker.limits.login_pdu_bytes:
            raise FramingLost(f"login PDU of {length} bytes", "oversized login PDU")
        total = BHS + ahs + ((length + 3) & ~3)
        await self._fill(total)
        request = pdu.LoginRequest.unpack_untrusted(
            bytes(data[:BHS]),
            data=bytes(data[BHS + ahs : BHS + ahs + length]),
            ahs=bytes(data[BHS : BHS + ahs]),
        )
        self.read_so_far += bytes(data[:total])
        del data[:total]
        return request

    def _stranger(self) -> FramingLost:
        """What it was, instead of a Login Request."""
        data = self.data
        what = f"opcode 0x{data[0] & 0x3F:02x}"
        if self.read_so_far:
            return FramingLost(f"{what} before the login was over", "PDU during login is not login")
        if data[0] == TLS_HANDSHAKE:
            return FramingLost("a TLS handshake on the plain port", "TLS on the plain port")
        if bytes(data[:4]) in HTTP_VERBS:
            return FramingLost("an HTTP request", "HTTP request")
        return FramingLost(f"{what} before any login", "first PDU is not login")

    async def _fill(self, size: int) -> None:
        while len(self.data) < size:
            try:
                more = self.sock.recv(self.worker.limits.login_pdu_bytes + BHS)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)
                continue
            except OSError as error:
                raise PeerGone(str(error)) from error
            if not more and self.data:
                raise FramingLost("the stream ended in a PDU", "login PDU cut off")
            if not more:
                raise PeerGone("end of stream")
            self.data += more

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)
            except OSError as error:
                raise PeerGone(str(error)) from error

    def close(self) -> None:
        self.sock.close()
        if self.relay_to is not None:
            self.relay_to.close()

    async def refuse(self, refused: LoginRefused) -> None:
        """Say no, once; the caller closes."""
        with trio.move_on_after(1.0):
            await self.send(wire(self.phase.refusal(refused)))
