"""Twenty ways of getting it wrong: each sends what no sound initiator would, on a connection of its own.

Source: RFC 7143 §6.3 (login), §7.1 (format errors), §7.7 (protocol errors), §11.  A kind is a function that
is given a connected initiator, makes its mistake, and returns; ``outcome`` then looks at how the target took
it."""

import random
import struct
from collections.abc import Callable

from tests.support.initiator import FULL_FEATURE, OPERATIONAL, Initiator
from tests.support.pdus import (
    COMMAND,
    DATA_IN,
    DATA_OUT,
    NO_TAG,
    NOP_OUT,
    R2T,
    REJECT,
    RESPONSE,
    TEXT,
    format_keys,
)

SNACK = 0x10
Mistake = Callable[[Initiator, random.Random], None]
BEFORE_LOGIN: dict[str, Mistake] = {}
AFTER_LOGIN: dict[str, Mistake] = {}
WRITE_16 = struct.pack(">BBQIBB", 0x8A, 0, 0, 128, 0, 0)  # 64 KiB at block 0


def before(mistake: Mistake) -> Mistake:
    BEFORE_LOGIN[mistake.__name__.replace("_", " ")] = mistake
    return mistake


def after(mistake: Mistake) -> Mistake:
    AFTER_LOGIN[mistake.__name__.replace("_", " ")] = mistake
    return mistake


def _names(who: Initiator) -> dict[str, str]:
    return {"InitiatorName": who.name, "SessionType": "Discovery"}


# -- instead of a login ----------------------------------------------------------------------------------


@before
def noise(who: Initiator, chance: random.Random) -> None:
    who.send_raw(chance.randbytes(96))


@before
def command_before_login(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.header(COMMAND, 0xC1, 1))


@before
def ping_before_login(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.header(NOP_OUT, 0x80, 1, immediate=True), b"anyone there?")


@before
def login_of_sixteen_megabytes(who: Initiator, chance: random.Random) -> None:
    head = who.login_header(OPERATIONAL, FULL_FEATURE)
    head[5:8] = b"\xff\xff\xff"
    who.send_raw(bytes(head) + bytes(4096))


@before
def login_in_the_reserved_stage(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.login_header(2, FULL_FEATURE), format_keys(_names(who).items()))


@before
def login_without_a_name(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.login_header(OPERATIONAL, FULL_FEATURE), b"SessionType=Discovery\0")


@before
def login_text_without_equals(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.login_header(OPERATIONAL, FULL_FEATURE), b"InitiatorName\0" + chance.randbytes(64))


@before
def login_of_a_later_version(who: Initiator, chance: random.Random) -> None:
    head = who.login_header(OPERATIONAL, FULL_FEATURE)
    head[2] = head[3] = 0x7F
    who.send_pdu(head, format_keys(_names(who).items()))


@before
def login_that_goes_on_and_moves_on(who: Initiator, chance: random.Random) -> None:
    """C and T together.  §11.12.2."""
    who.send_pdu(who.login_header(OPERATIONAL, FULL_FEATURE, more=True), format_keys(_names(who).items()))


@before
def half_a_header(who: Initiator, chance: random.Random) -> None:
    who.send_raw(bytes(who.login_header(OPERATIONAL, FULL_FEATURE))[: chance.randrange(1, 48)])
    who.sock.shutdown(1)


# -- in full feature phase -------------------------------------------------------------------------------


@after
def unknown_opcode(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.header(chance.choice((0x07, 0x0F, 0x17, 0x1F)), 0x80, 9))


@after
def opcode_of_a_target(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.header(chance.choice((DATA_IN, RESPONSE, R2T, REJECT)), 0x80, 9))


@after
def login_once_more(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.login_header(OPERATIONAL, FULL_FEATURE), format_keys(_names(who).items()))


@after
def additional_header_beyond_reason(who: Initiator, chance: random.Random) -> None:
    who.send_pdu(who.header(COMMAND, 0xC1, 9), ahs=chance.randbytes(255 * 4))


@after
def more_data_than_we_take(who: Initiator, chance: random.Random) -> None:
    head = who.header(COMMAND, 0xA1, 9)
    head[5:8] = (who.max_send + 4).to_bytes(3, "big")
    who.send_raw(bytes(head) + bytes(8192))


@after
def data_for_nobody(who: Initiator, chance: random.Random) -> None:
    head = bytearray(48)
    struct.pack_into(">BB14xII", head, 0, DATA_OUT, 0x80, chance.getrandbits(31), chance.getrandbits(31))
    who.send_pdu(head, bytes(512))


@after
def data_where_it_was_not_asked_for(who: Initiator, chance: random.Random) -> None:
    who.auto_r2t = False
    who.negotiated |= {"InitialR2T": "Yes", "ImmediateData": "No"}
    tag = who.start(WRITE_16, write=bytes(65536))
    while (asked := who.recv_pdu()).opcode != R2T:
        pass
    head = bytearray(48)
    struct.pack_into(">BB14xI", head, 0, DATA_OUT, 0x80, tag)
    head[20:24] = asked.bhs[20:24]
    struct.pack_into(">I", head, 40, 0x7FFFFF00)
    who.send_pdu(head, bytes(512))


@after
def one_tag_for_two(who: Initiator, chance: random.Random) -> None:
    who.auto_r2t = False
    who.negotiated |= {"InitialR2T": "Yes", "ImmediateData": "No"}
    who.start(WRITE_16, write=bytes(65536))
    who._tag -= 1
    who.start(WRITE_16, write=bytes(65536))


@after
def asking_again_for_what_was_lost(who: Initiator, chance: random.Random) -> None:
    """A SNACK, for which ErrorRecoveryLevel 0 has no use.  §11.16."""
    head = bytearray(48)
    struct.pack_into(">BB14xII", head, 0, SNACK, 0x80, chance.getrandbits(31), NO_TAG)
    who.send_pdu(head)


@after
def text_of_noise(who: Initiator, chance: random.Random) -> None:
    head = who.header(TEXT, 0x80, 9, lun=0)
    struct.pack_into(">I", head, 20, NO_TAG)
    who.send_pdu(head, chance.randbytes(200))


KINDS = [*BEFORE_LOGIN, *AFTER_LOGIN]


def make(kind: str, address: str, target: str, chance: random.Random, source: str | None = None) -> str:
    """Makes the mistake ``kind`` once; how the target took it, in a word or two."""
    mistake = BEFORE_LOGIN.get(kind) or AFTER_LOGIN[kind]
    name = f"iqn.1993-08.org.debian:01:bad-{chance.getrandbits(32):08x}"
    with Initiator(address, name=name, timeout=3, source=source) as who:
        try:
            if kind in AFTER_LOGIN:
                who.login(target)
                who.settle()
        except (OSError, KeyError, ValueError) as refused:
            return f"no login: {refused}"
        try:
            mistake(who, chance)
            return outcome(who)
        except ConnectionError:
            return "closed"
        except TimeoutError:
            return "no answer"


def outcome(who: Initiator) -> str:
    """The first thing the target does about it; a ping finds out whether it still listens."""
    words = {
        0x23: "login response",
        REJECT: "reject",
        RESPONSE: "SCSI response",
        0x22: "task management response",
        0x24: "text response",
        0x26: "logout response",
        R2T: "R2T",
    }
    who.sock.settimeout(0.2)
    try:
        pdu = who.recv_pdu()
    except TimeoutError:
        return "nothing"
    said = words.get(pdu.opcode, f"opcode {pdu.opcode:02x}h")
    if pdu.opcode == 0x23:
        said += f" {pdu.login_status:04x}h"
    elif pdu.opcode == REJECT:
        said += f" {pdu.bhs[2]:02x}h"
    elif pdu.opcode == RESPONSE:
        said += f" status {pdu.bhs[3]:02x}h"
    return said
