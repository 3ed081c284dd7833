"""How a PDU lies in its 48 bytes: fields with an offset, and the class that packs and unpacks by them.

Source: RFC 7143 §11.2 (template, AHS, padding).  A PDU class is a list of fields; the codec, the tests'
strategies and the fuzzer all read that list.  Knows no particular PDU (``pdu_initiator``, ``pdu_target``)
and nothing about when one may be sent.  Reserved bits are ignored when read and zero when written.

Not hot: SCSI Command, Data-Out, Data-In and SCSI Response are read and written by offset in ``framing`` and
``data``; their classes here are the plain version."""

import enum
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import attrs

from scsipub.errors import FramingLost, PduRejected
from scsipub.iscsi.constants import BHS_LENGTH, RESERVED_TAG, AhsType, Opcode, RejectReason

MAX_AHS_LENGTH = 255 * 4  # TotalAHSLength counts words of four bytes in one byte
MAX_DATA_SEGMENT_LENGTH = 2**24 - 1
IMMEDIATE = 0x40

Buffer = bytes | bytearray | memoryview


class Kind(enum.Enum):
    """What a place in the header holds."""

    NUMBER = "an unsigned number"
    FLAG = "one bit"
    BITS = "a few bits of one byte"
    RAW = "bytes as they are"


@attrs.frozen
class Place:
    """Where a field lies: first byte, how many, and for bits which ones of that byte."""

    kind: Kind
    offset: int
    length: int
    mask: int = 0

    @property
    def shift(self) -> int:
        """How far the lowest bit of the mask is from bit 0."""
        return (self.mask & -self.mask).bit_length() - 1

    @property
    def maximum(self) -> int:
        """The largest number that fits."""
        return self.mask >> self.shift if self.mask else (1 << 8 * self.length) - 1


def number(offset: int, length: int, default: int = 0) -> Any:
    """An unsigned big-endian number."""
    return attrs.field(default=default, metadata={"place": Place(Kind.NUMBER, offset, length)})


def flag(offset: int, mask: int, default: bool = False) -> Any:
    """One bit."""
    return attrs.field(default=default, metadata={"place": Place(Kind.FLAG, offset, 1, mask)})


def bits(offset: int, mask: int, default: int = 0) -> Any:
    """Some neighbouring bits of one byte."""
    return attrs.field(default=default, metadata={"place": Place(Kind.BITS, offset, 1, mask)})


def raw(offset: int, length: int) -> Any:
    """Bytes that are not a number, like a CDB or an ISID."""
    return attrs.field(default=bytes(length), metadata={"place": Place(Kind.RAW, offset, length)})


def lun() -> Any:
    """The eight bytes of a LUN as one number; 0 is LUN 0."""
    return number(8, 8)


def tag(offset: int, default: int = RESERVED_TAG) -> Any:
    """A task tag; unless told otherwise, the one that names nothing."""
    return number(offset, 4, default)


@attrs.frozen(kw_only=True)
class Pdu:
    """What every PDU has: an opcode, perhaps additional headers, perhaps data."""

    OPCODE: ClassVar[Opcode]
    FIXED: ClassVar[int] = 0  # bits of byte 1 that are always one in this PDU; ignored when read

    data: bytes = b""
    ahs: bytes = b""

    def pack(self) -> bytes:
        """The 48-byte header, lengths filled in.  ``ValueError`` for what does not fit: our own mistake."""
        bhs = bytearray(BHS_LENGTH)
        bhs[0] = self.OPCODE
        bhs[1] = self.FIXED
        if len(self.ahs) % 4 or len(self.ahs) > MAX_AHS_LENGTH:
            raise ValueError(f"an AHS of {len(self.ahs)} bytes")
        if len(self.data) > MAX_DATA_SEGMENT_LENGTH:
            raise ValueError(f"a data segment of {len(self.data)} bytes")
        bhs[4] = len(self.ahs) // 4
        bhs[5:8] = len(self.data).to_bytes(3, "big")
        for name, place in places(type(self)):
            value = getattr(self, name)
            end = place.offset + place.length
            if place.kind is Kind.NUMBER:
                try:
                    bhs[place.offset : end] = value.to_bytes(place.length, "big")
                except OverflowError:
                    raise ValueError(f"{name}={value} does not fit") from None
            elif place.kind is Kind.RAW:
                if len(value) != place.length:
                    raise ValueError(f"{name} has {len(value)} bytes, not {place.length}")
                bhs[place.offset : end] = value
            else:
                if not 0 <= value <= place.maximum:
                    raise ValueError(f"{name}={value} does not fit")
                bhs[place.offset] |= int(value) << place.shift
        return bytes(bhs)

    @classmethod
    def unpack_untrusted(cls, bhs: Buffer, data: Buffer = b"", ahs: Buffer = b"") -> Self:
        """Read a header of this kind.  The lengths in it are framing's business and not looked at."""
        if len(bhs) != BHS_LENGTH:
            raise FramingLost(f"a header of {len(bhs)} bytes")
        if bhs[0] & 0x3F != cls.OPCODE:
            raise PduRejected(RejectReason.COMMAND_NOT_SUPPORTED, f"opcode 0x{bhs[0] & 0x3F:02x}")
        values: dict[str, Any] = {"data": bytes(data), "ahs": bytes(ahs)}
        for name, place in places(cls):
            chunk = bhs[place.offset : place.offset + place.length]
            if place.kind is Kind.NUMBER:
                values[name] = int.from_bytes(chunk, "big")
            elif place.kind is Kind.RAW:
                values[name] = bytes(chunk)
            elif place.kind is Kind.FLAG:
                values[name] = bool(chunk[0] & place.mask)
            else:
                values[name] = (chunk[0] & place.mask) >> place.shift
        return cls(**values)


@attrs.frozen(kw_only=True)
class InitiatorPdu(Pdu):
    """A PDU that initiators send; most of them may be marked for immediate delivery."""

    immediate: bool = flag(0, IMMEDIATE)


@attrs.frozen(kw_only=True)
class TargetPdu(Pdu):
    """A PDU that targets send."""


_PLACES: dict[type[Pdu], tuple[tuple[str, Place], ...]] = {}


def places(cls: type[Pdu]) -> tuple[tuple[str, Place], ...]:
    """The fields of a PDU class that lie in its header, with where they lie."""
    found = _PLACES.get(cls)
    if found is None:
        found = tuple((a.name, a.metadata["place"]) for a in attrs.fields(cls) if "place" in a.metadata)
        _PLACES[cls] = found
    return found


def padding(length: int) -> bytes:
    """The zero bytes that bring a segment to a multiple of four.  §11.1"""
    return bytes(-length % 4)


def wire(pdu: Pdu) -> bytes:
    """The whole PDU as it travels when no digest is in force."""
    return b"".join((pdu.pack(), pdu.ahs, pdu.data, padding(len(pdu.data))))


def extended_cdb(cdb: bytes) -> tuple[bytes, bytes]:
    """Split a CDB into the 16 bytes of the header and the AHS for the rest.  §11.2.2.3"""
    first, rest = cdb[:16].ljust(16, b"\0"), cdb[16:]
    if not rest:
        return first, b""
    head = (len(rest) + 1).to_bytes(2, "big") + bytes((AhsType.EXTENDED_CDB, 0))
    return first, head + rest + padding(len(rest))


def additional_headers_untrusted(ahs: Buffer) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each Additional Header Segment.  §11.2.2

    The content leaves out the byte after the type, reserved in both types there are."""
    position = 0
    while position < len(ahs):
        length = int.from_bytes(ahs[position : position + 2], "big")
        end = position + 3 + length
        if length == 0 or position + 4 > len(ahs) or end > len(ahs):
            raise PduRejected(RejectReason.PROTOCOL_ERROR, "an AHS longer than TotalAHSLength says")
        yield ahs[position + 2] & 0x3F, bytes(ahs[position + 4 : end])
        position = end + -end % 4
