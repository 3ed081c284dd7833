"""Hot: the turn.  Many PDUs in, their answers into the outbox, no object made on the way.

Once per wake-up of a connection; once per PDU inside.  The plain way for every command is
``Session.receive`` -> ``Nexus.command`` -> ``LogicalUnit.begin``; this file takes the commands of which
disks see millions (READ and WRITE of 10 and 16 bytes, in order, whole, of a unit with nothing to say) and
must leave the same bytes behind.  ``tests/target/test_turn.py`` holds the two ways against each other.

Everything is read by offset and local names; each check says in a word why the slow way is needed."""

from crc32c import crc32c

from scsipub.iscsi.data import (
    CDB_AS_16,
    COMMAND_AS_10,
    DATA_IN,
    NO_TAG,
    OP_DATA_IN,
    OP_RESPONSE,
    RESPONSE,
)
from scsipub.iscsi.digest import DIGEST, RIGHT
from scsipub.target.nexus import Nexus
from scsipub.target.running import Paths

NOWHERE = Paths()
SMALL = 64 * 1024  # longer reads are streams
ROOM = 1 << 62  # as much as the limits allow
SLOW = 8  # what goes the slow way may take long: so many, and whoever calls looks at the clock
READ_SIMPLE, WRITE_SIMPLE = (0xC0, 0xC1), (0xA0, 0xA1)  # F, direction, attribute UNTAGGED or SIMPLE


def turn(nexus: Nexus, view: memoryview, at: int, end: int, now: float, room: int = ROOM) -> int:
    """Handle the PDUs in ``view[at:end]``.  Returns where the first byte lies that is not done with.

    Stops early, after ``limits.turn_pdus`` PDUs, ``SLOW`` of them the slow way, or when the outbox holds
    ``room`` bytes: call again after sending, until nothing more is taken.
    Raises FramingLost (close, say nothing more)."""
    session = nexus.session
    paths = nexus.paths if nexus.faults is None else NOWHERE  # who is under test goes the slow way
    out, negotiated, limits, order = session.out, session.negotiated, nexus.limits, nexus.order
    nexus.now = now
    unpack, unpack_16 = COMMAND_AS_10.unpack_from, CDB_AS_16.unpack_from
    pack_data_in, pack_response = DATA_IN.pack_into, RESPONSE.pack_into
    pack_digest = DIGEST.pack_into
    header_digest, data_digest = negotiated.header_digest, negotiated.data_digest
    before = 52 if header_digest else 48  # from the start of a PDU to its data
    after = 4 if data_digest else 0  # behind it
    segment = min(negotiated.max_xmit_data_segment, negotiated.max_burst, SMALL)
    most = limits.max_transfer_bytes
    longest = min(negotiated.first_burst, limits.max_recv_data_segment, most)
    if not negotiated.immediate_data:
        longest = 0
    outview, full = out.view, min(room, limits.session_output_bytes, out.size - SMALL - 256)
    throttle = nexus.throttle
    counters, streams = session.counters, nexus.streams.queue  # answers leave in order: no overtaking streams
    operations = bytes_read = bytes_written = 0
    left, slow = limits.turn_pdus, SLOW
    try:
        while end - at >= 48 and left > 0 and out.used < full and not session.closing:
            left -= 1
            (
                opcode, flags, lengths, lun, tag, expected, cmd_sn, _,
                operation, bits, lba, group, count, control,
            ) = unpack(view, at)  # fmt: skip
            if operation == 0x28 or operation == 0x2A:
                fast = opcode == 1  # numbered: immediate commands go the slow way
            elif operation == 0x88 or operation == 0x8A:
                fast = opcode == 1
                lba, count, group, control = unpack_16(view, at + 34)
            else:
                fast = False
            if (
                fast
                and (path := paths.get(lun)) is not None
                and not bits  # FUA, DPO, protection
                and not group
                and not control  # NACA
                and count
                and lba + count <= path.blocks
                and expected == (size := count << 9 << path.shift)  # else a residual
                and cmd_sn == session.exp_cmd_sn
                and session.window > 0
                and not session.held
                and tag != NO_TAG
                and not (session.tasks and (tag in session.tasks or order.waiting or order.barriers))
                and not session.discarding
                and not (backing := path.backing).running  # else ranges must be compared
                and not backing.waiting
                and (throttle is None or (throttle.open(now) and not session.surplus))
                and (not header_digest or (end - at >= 52 and crc32c(view[at : at + 52], 0, 0) == RIGHT))
            ):
                first = lba << path.shift
                used = out.used
                if operation & 0x02:
                    start = at + before
                    stop = start + size
                    if (
                        flags in WRITE_SIMPLE
                        and lengths == size <= longest
                        and path.lane.may_write
                        and stop + after <= end
                        and now >= backing.inline_after
                        and (not data_digest or crc32c(view[start : stop + 4], 0, 0) == RIGHT)
                        and backing.disk.write_now(first, view[start:stop])
                    ):
                        at = stop + after
                        session.exp_cmd_sn = cmd_sn = (cmd_sn + 1) & 0xFFFFFFFF
                        stat_sn = session.stat_sn
                        session.stat_sn = (stat_sn + 1) & 0xFFFFFFFF
                        pack_response(
                            outview, used, OP_RESPONSE, 0x80, 0, 0, 0, 0, tag, 0, stat_sn, cmd_sn,
                            (cmd_sn + session.window - 1) & 0xFFFFFFFF, 0, 0, 0,
                        )  # fmt: skip
                        if header_digest:
                            pack_digest(outview, used + 48, crc32c(outview[used : used + 48], 0, 0))
                        out.used = used + before
                        if throttle is not None:
                            throttle.spend(size)
                        operations += 1
                        bytes_written += size
                        continue
                elif flags in READ_SIMPLE and not lengths and path.lane.may_read and size <= most:
                    start = used + before
                    stop = start + size
                    if size > segment or streams:
                        at += before if header_digest else 48
                        session.exp_cmd_sn = (cmd_sn + 1) & 0xFFFFFFFF
                        if throttle is not None:
                            throttle.spend(size)
                        nexus.streams.take(tag, lun, path, first, size)
                        continue
                    if backing.disk.read_now(first, count << path.shift, outview[start:stop]):
                        at += before if header_digest else 48
                        session.exp_cmd_sn = cmd_sn = (cmd_sn + 1) & 0xFFFFFFFF
                        stat_sn = session.stat_sn
                        session.stat_sn = (stat_sn + 1) & 0xFFFFFFFF
                        pack_data_in(
                            outview, used, OP_DATA_IN, 0x81, 0, size, 0, tag, NO_TAG, stat_sn, cmd_sn,
                            (cmd_sn + session.window - 1) & 0xFFFFFFFF, 0, 0, 0,
                        )  # fmt: skip
                        if header_digest:
                            pack_digest(outview, used + 48, crc32c(outview[used : used + 48], 0, 0))
                        if data_digest:
                            pack_digest(outview, stop, crc32c(outview[start:stop], 0, 0))
                            stop += 4
                        out.used = stop
                        if throttle is not None:
                            throttle.spend(size)
                        operations += 1
                        bytes_read += size
                        continue
            taken = session.receive(view, at, end, now)
            if not taken:
                break
            at += taken
            if session.negotiated is not negotiated:
                break  # a smaller segment, perhaps: begin anew with what holds now
            slow -= 1
            if not slow:
                break
    finally:
        session.last_heard = now
        counters.operations += operations
        counters.bytes_read += bytes_read
        counters.bytes_written += bytes_written
    return at
