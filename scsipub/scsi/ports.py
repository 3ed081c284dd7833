"""Initiator ports: who a nexus is, in the words of persistent reservations.

Source: SPC-4 §7.6.4.6 (iSCSI TransportIDs), §5.13.7 (registrations are of I_T nexuses), RFC 7143 §4.2.7.
Knows how a TransportID is written and read; which parts of it tell two initiators apart is decided by whoever
attaches them."""

import attrs

from scsipub.scsi import cdb, sense

_PROTOCOL_ISCSI = 0x05
_WITH_ISID = 0x40
_LONGEST = 4 + 264  # header, name of 223 bytes, ",i,0x", ISID, NUL, padding; rounded up


@attrs.frozen
class InitiatorPort:
    """``isid`` None: every session under this name is the same port.  ``target_port``: the relative target
    port at our end of the nexus, None: whichever.

    The principal belongs to it, too: a registration never matches across principals."""

    name: str
    isid: bytes | None = None
    principal: str = ""
    target_port: int | None = None

    @property
    def transport_id(self) -> bytes:
        """Format 00b is a name, 01b a name and an ISID.  At least 24 bytes, a multiple of four."""
        text = self.name if self.isid is None else f"{self.name},i,0x{self.isid.hex()}"
        raw = text.encode() + b"\0"
        raw += bytes(max(20 - len(raw), -len(raw) % 4))
        kind = _PROTOCOL_ISCSI | (_WITH_ISID if self.isid is not None else 0)
        return bytes([kind, 0]) + len(raw).to_bytes(2, "big") + raw


def transport_id_untrusted(data: bytes, at: int, like: InitiatorPort, target_port: int = 1) -> InitiatorPort:
    """The port that a TransportID at offset ``at`` of a parameter list names, in the identity that ``like``
    has, and at our ``target_port`` if that belongs to it."""
    it = data[at:]
    if len(it) < 24 or len(it) > _LONGEST:
        raise sense.invalid_parameter(at, 7, "TransportID length")
    if it[0] & 0x0F != _PROTOCOL_ISCSI or it[0] >> 6 > 1:
        raise sense.invalid_parameter(at, 7, "not an iSCSI TransportID")
    if cdb.number(it, 2, 2) != len(it) - 4 or len(it) % 4:
        raise sense.invalid_parameter(at + 2, 7, "TransportID length")
    raw, nul, padding = it[4:].partition(b"\0")
    if not nul or any(padding) or not raw.isascii():
        raise sense.invalid_parameter(at + 4, 7, "iSCSI name")
    name, isid = raw.decode("ascii").lower(), None
    if it[0] & _WITH_ISID:
        name, comma, text = name.partition(",i,0x")
        if not comma or len(text) != 12 or any(digit not in "0123456789abcdef" for digit in text):
            raise sense.invalid_parameter(at + 4, 7, "ISID")
        isid = bytes.fromhex(text)
    elif like.isid is not None:
        raise sense.invalid_parameter(at, 7, "TransportID without an ISID")
    if not name.startswith(("iqn.", "eui.", "naa.")) or len(name) > 223:
        raise sense.invalid_parameter(at + 4, 7, "iSCSI name")
    end = None if like.target_port is None else target_port
    return InitiatorPort(name, isid if like.isid is not None else None, like.principal, end)
