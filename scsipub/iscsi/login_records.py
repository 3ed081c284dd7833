"""What a login asks of its surroundings, what they answer, and what comes out of it.

Source: RFC 7143 §6.3, §11.13.  Plain records; ``login`` makes the questions, the worker and the catalogue
the verdicts."""

import attrs

from scsipub.iscsi.constants import ChapAlgorithm
from scsipub.iscsi.pdu import LoginResponse

NORMAL = "Normal"
DISCOVERY = "Discovery"


@attrs.frozen(kw_only=True)
class AuthPolicy:
    """What a target asks of those who log in."""

    required: bool = False
    # Those we take, strongest first; see ``chap.at_least``.  Empty: CHAP is not to be had here, and who
    # offers nothing but CHAP is refused, for there is nobody to check the answer.
    algorithms: tuple[ChapAlgorithm, ...] = ()
    mutual: bool = False  # the initiator may challenge us


@attrs.frozen(kw_only=True)
class TargetFound:
    """The catalogue knows the target (or allows the discovery)."""

    auth: AuthPolicy = AuthPolicy()
    portal_group_tag: int | None = None  # None: the one given to ``LoginPhase``
    # The session's handle.  For a request with TSIH 0 a fresh one, None for the one given to ``LoginPhase``;
    # for a request that names a session, that session's, and anything else refuses it with 0x020A.
    tsih: int | None = None


@attrs.frozen
class Redirect:
    """The target is served elsewhere for now: ``host:port``, brackets around an IPv6 address.  0x0101"""

    address: str


Verdict = TargetFound | Redirect


@attrs.frozen(kw_only=True)
class SecretsVerdict:
    """Whether the response to our challenge was right, and our own response to theirs."""

    ok: bool
    principal: str | None = None
    mutual_name: str | None = None
    mutual_response: bytes | None = None


@attrs.frozen
class Respond:
    """Send this and read on."""

    response: LoginResponse


@attrs.frozen(kw_only=True)
class AskCatalogue:
    """Who is this for?  Answer with ``catalogue_says``, or refuse.

    Until this is answered nothing but ``answered`` empty responses to parts of one long text has been sent:
    the connection may be handed to another process, which replays the same requests into a ``LoginPhase`` of
    its own and keeps back that many responses."""

    session_type: str
    initiator_name: str
    initiator_alias: str | None
    target_name: str | None  # None only in a discovery session
    isid: bytes
    tsih: int
    cid: int
    answered: int = 0


@attrs.frozen(kw_only=True)
class AskSecrets:
    """Is this the right response to our challenge?  Answer with ``secrets_say``, or refuse."""

    chap_name: str
    algorithm: ChapAlgorithm
    identifier: int
    challenge: bytes
    response: bytes
    mutual: tuple[int, bytes] | None = None  # identifier and challenge of theirs


@attrs.frozen(kw_only=True)
class Negotiated:
    """What holds for the connection and its session from now on."""

    session_type: str
    initiator_name: str
    initiator_alias: str | None
    target_name: str | None
    isid: bytes
    tsih: int
    cid: int
    cmd_sn: int  # the CmdSN we expect first
    stat_sn: int  # the StatSN of the first response we send
    portal_group_tag: int
    principal: str | None = None
    header_digest: bool = False
    data_digest: bool = False
    max_recv_data_segment: int  # ours; what the initiator may send in one PDU
    max_xmit_data_segment: int  # the initiator's
    first_burst: int
    max_burst: int
    initial_r2t: bool
    immediate_data: bool
    max_connections: int
    max_outstanding_r2t: int
    data_pdu_in_order: bool
    data_sequence_in_order: bool
    error_recovery_level: int
    time2wait: int
    time2retain: int

    @property
    def exp_stat_sn(self) -> int:
        """What the initiator's ExpStatSN will be in its first request."""
        return self.stat_sn

    @property
    def discovery(self) -> bool:
        """A session without SCSI."""
        return self.session_type == DISCOVERY


@attrs.frozen(kw_only=True)
class LoginFinished:
    """Send the response; what follows is full feature phase."""

    response: LoginResponse
    parameters: Negotiated
    principal: str | None = None


@attrs.frozen(kw_only=True)
class LoginRedirected:
    """Send the response, then close."""

    response: LoginResponse
    address: str


Outcome = Respond | AskCatalogue | AskSecrets | LoginFinished | LoginRedirected
