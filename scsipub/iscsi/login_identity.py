"""Who the initiator says it is, and whom it wants: settled by the first request.

Source: RFC 7143 §6.3 (what the first request must hold), §4.2.7 (names).  Whether these names are known is
the catalogue's to say; here they are only read, and held against what later requests say."""

import sys
from collections.abc import Sequence

from scsipub.errors import LoginRefused
from scsipub.iscsi.constants import LoginStatus
from scsipub.iscsi.keys import NAMES_OF_THE_NEXUS
from scsipub.iscsi.login_records import DISCOVERY, NORMAL, AskCatalogue
from scsipub.iscsi.names import initiator_name_untrusted, target_name_untrusted
from scsipub.iscsi.pdu import LoginRequest
from scsipub.iscsi.text import Pair, printable


def identify_untrusted(request: LoginRequest, pairs: Sequence[Pair], answered: int) -> AskCatalogue:
    """The question to the catalogue: who is speaking, and to whom."""
    said: dict[str, str] = {}
    for key, value in pairs:
        if key in NAMES_OF_THE_NEXUS and said.setdefault(key, value) != value:
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, f"two values for {key}")
    if "InitiatorName" not in said:
        raise LoginRefused(LoginStatus.MISSING_PARAMETER, "no InitiatorName")
    session_type = said.get("SessionType", NORMAL)
    if session_type not in (NORMAL, DISCOVERY):
        raise LoginRefused(
            LoginStatus.SESSION_TYPE_NOT_SUPPORTED, f"SessionType={printable(session_type, 40)}"
        )
    if session_type == NORMAL and "TargetName" not in said:
        raise LoginRefused(LoginStatus.MISSING_PARAMETER, "no TargetName")
    alias = dict(pairs).get("InitiatorAlias")
    return AskCatalogue(
        session_type=DISCOVERY if session_type == DISCOVERY else NORMAL,
        initiator_name=initiator_name_untrusted(said["InitiatorName"]),
        initiator_alias=None if alias is None else printable(alias),  # only ever shown to people
        # Many come for one target: its name should be in memory once.
        target_name=sys.intern(target_name_untrusted(said["TargetName"])) if "TargetName" in said else None,
        isid=request.isid,
        tsih=request.tsih,
        cid=request.cid,
        answered=answered,
    )


def check_unchanged_untrusted(identity: AskCatalogue, key: str, value: str) -> None:
    """Some initiators say their names in every request: they may, as long as they stay the same."""
    if key == "InitiatorName":
        same = initiator_name_untrusted(value) == identity.initiator_name
    elif key == "TargetName":
        same = value.lower() == identity.target_name
    else:
        same = value == identity.session_type
    if not same:
        raise LoginRefused(LoginStatus.INITIATOR_ERROR, f"another {key} than at first")
