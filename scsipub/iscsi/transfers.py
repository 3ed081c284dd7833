"""Tasks and their write data: immediate, unsolicited, and asked for by R2T.

Source: RFC 7143 §4.2.5.2 (data transfer), §11.3.4.3, §11.7, §11.8, §13.10-13.14.  Sans-IO: decides what
each Data-Out means; storing the bytes is the host's affair.

DataPDUInOrder and DataSequenceInOrder are Yes and MaxOutstandingR2T is 1, so the whole state of a transfer
is: how far we are, where the current burst ends, and which tag it carries."""

from typing import Any

import attrs

from scsipub.errors import CheckCondition, FramingLost
from scsipub.iscsi.data import NO_TAG

# SPC-4 table of additional sense codes, as RFC 7143 §11.4.7.2 uses them (key 0Bh ABORTED COMMAND).
UNEXPECTED_UNSOLICITED_DATA = (0x0B, 0x0C, 0x0C)
NOT_ENOUGH_UNSOLICITED_DATA = (0x0B, 0x0C, 0x0D)
PROTOCOL_SERVICE_CRC_ERROR = (0x0B, 0x47, 0x05)
DATA_PHASE_ERROR = (0x0B, 0x4B, 0x00)


@attrs.define(eq=False)
class Task:
    """One SCSI command between its arrival and its status.  Sizes and offsets are bytes."""

    initiator_task_tag: int
    lun: int  # the eight bytes of the header as one number
    cdb: bytes
    attribute: int
    reads: bool
    writes: bool
    expected: int  # Expected Data Transfer Length
    immediate: bool
    header: bytes  # the 48 bytes, for logs and Reject

    wanted: int = 0  # how much write data the command takes; set by ``expect``
    received: int = 0  # contiguous from 0
    burst_end: int = 0  # where the burst that is under way ends
    target_transfer_tag: int | None = None  # of the R2T that is out; None: unsolicited, or between bursts
    unsolicited: bool = False  # more Data-Out without R2T will come
    next_data_sn: int = 0
    next_r2t_sn: int = 0
    deadline: float = 0.0  # when the burst under way must be complete
    data_sn: int = 0  # of the next Data-In

    ended: bool = False  # status sent, or aborted: nothing more goes to the initiator
    started: bool = False  # counted in the command window
    muted: bool = False  # whatever becomes of it, nobody is told
    host: Any = None  # whatever the host needs to remember


def begin_unsolicited(
    task: Task, *, final: bool, length: int, first_burst: int, immediate_data: bool, initial_r2t: bool
) -> None:
    """Decide what the command PDU says about data that comes without R2T.

    ``length`` is the immediate data in the command PDU itself.  Raises CheckCondition when the initiator
    sends what negotiation ruled out."""
    if length and not immediate_data:
        raise CheckCondition(*UNEXPECTED_UNSOLICITED_DATA, why="immediate data although ImmediateData=No")
    if length > first_burst or length > task.expected:
        raise CheckCondition(*UNEXPECTED_UNSOLICITED_DATA, why=f"{length} bytes of immediate data")
    if not final:
        if initial_r2t:
            raise CheckCondition(*UNEXPECTED_UNSOLICITED_DATA, why="unsolicited data although InitialR2T=Yes")
        task.unsolicited = True
        task.burst_end = min(first_burst, task.expected)


def accept_data_out(task: Task, *, tag: int, data_sn: int, offset: int, length: int, final: bool) -> None:
    """Check one Data-Out against the burst that is under way, and advance.

    Raises FramingLost for what cannot be an honest mistake in the middle of a stream (a foreign tag, an
    offset outside the burst), CheckCondition for a burst of the wrong length or DataSN."""
    if tag == NO_TAG:
        if not task.unsolicited:
            raise CheckCondition(*UNEXPECTED_UNSOLICITED_DATA, why="Data-Out that nobody asked for")
    elif tag != task.target_transfer_tag:
        raise FramingLost(
            f"Data-Out with target transfer tag 0x{tag:08x}, which is not out for this task",
            "Data-Out out of place",
        )
    if data_sn != task.next_data_sn:
        raise CheckCondition(*DATA_PHASE_ERROR, why=f"DataSN {data_sn}, expected {task.next_data_sn}")
    if offset != task.received:
        raise FramingLost(f"Data-Out at offset {offset}, expected {task.received}", "Data-Out out of place")
    end = offset + length
    if end > task.burst_end:
        asc = UNEXPECTED_UNSOLICITED_DATA if tag == NO_TAG else NOT_ENOUGH_UNSOLICITED_DATA
        raise CheckCondition(*asc, why=f"Data-Out to offset {end}, the burst ends at {task.burst_end}")
    if final and end != task.burst_end and tag != NO_TAG:
        raise CheckCondition(*NOT_ENOUGH_UNSOLICITED_DATA, why=f"burst ends at {end}, not {task.burst_end}")
    if not final and end == task.burst_end:
        raise CheckCondition(*DATA_PHASE_ERROR, why="the burst is complete but F is not set")
    if final and tag == NO_TAG and end != task.burst_end:
        # §13.14: an unsolicited burst that stops short of FirstBurstLength must be all there is.
        raise CheckCondition(*NOT_ENOUGH_UNSOLICITED_DATA, why=f"unsolicited data ends at {end}")
    task.next_data_sn += 1
    task.received = end
    if final:
        task.unsolicited = False
        task.target_transfer_tag = None
        task.next_data_sn = 0


def next_burst(task: Task, *, tag: int, max_burst: int, deadline: float) -> tuple[int, int, int]:
    """Open the next solicited burst.  Returns (R2TSN, offset, length) for the R2T."""
    length = min(task.wanted - task.received, max_burst)
    task.target_transfer_tag = tag
    task.burst_end = task.received + length
    task.next_data_sn = 0
    task.deadline = deadline
    r2t_sn = task.next_r2t_sn
    task.next_r2t_sn += 1
    return r2t_sn, task.received, length
