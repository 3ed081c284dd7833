"""Session: the full feature phase of one connection, as heard.

Source: RFC 7143 §4.2.2 (numbering), §7 (errors, at level 0), §11 (PDUs).  Sans-IO: bytes and time come in,
SCSI goes to the ``Host``, answers go by ``answers`` into the outbox.

One session has one connection (MaxConnections=1, ErrorRecoveryLevel=0).  The fast lane for plain READ and
WRITE lies in ``target.turn``; whatever it does not take comes here, and both leave the same bytes."""

from collections.abc import Callable

import attrs

from scsipub.errors import HEADER_NOTE, CheckCondition, FramingLost, PduRejected, PeerError
from scsipub.iscsi import pdu
from scsipub.iscsi.answers import Answers, Host
from scsipub.iscsi.constants import LogoutReason, LogoutResponseCode, Opcode, RejectReason
from scsipub.iscsi.data import ATTRIBUTE, CDB, COMMAND_AS_10, DATA_OUT, FINAL, NO_TAG, READ, WRITE
from scsipub.iscsi.digest import RIGHT, crc32c
from scsipub.iscsi.framing import BHS, measure_untrusted
from scsipub.iscsi.login_records import Negotiated
from scsipub.iscsi.numbering import MASK, serial_distance
from scsipub.iscsi.outbox import Outbox
from scsipub.iscsi.text_exchange import AskTargets, TargetRecord, TextExchange
from scsipub.iscsi.transfers import PROTOCOL_SERVICE_CRC_ERROR, Task, accept_data_out, begin_unsolicited
from scsipub.limits import Limits


class Session(Answers):
    """Everything between login and logout.  ``receive`` is called with whole and partial PDUs alike."""

    __slots__ = ("closing", "held", "held_bytes", "last_heard", "may_ping", "targets", "text")

    def __init__(
        self, negotiated: Negotiated, limits: Limits, out: Outbox, host: Host | None, *, stat_sn: int,
        now: float, targets: Callable[[str | None], list[TargetRecord]],
    ) -> None:  # fmt: skip
        super().__init__(negotiated, limits, out, host, stat_sn)
        self.held: dict[int, list[bytes]] = {}  # CmdSN ahead of its turn -> the command and its data
        self.held_bytes = 0
        self.may_ping = False  # only towards those who know NOPs: iPXE never answers
        self.last_heard = now
        self.closing = False  # an answer in the outbox is the last one: send it, then close
        self.targets = targets  # those this initiator may see: all, or the one of that name
        self.text: TextExchange | None = None  # from the first Text Request on

    # -- receiving ---------------------------------------------------------------------------------------

    def receive(self, view: memoryview, at: int, end: int, now: float) -> int:
        """Handle the one PDU that starts at ``view[at]``.  Returns its length, or 0 when it is not whole.

        Raises FramingLost: close the connection, answer nothing more."""
        n = self.negotiated
        total = measure_untrusted(
            view,
            at,
            end,
            header_digest=n.header_digest,
            data_digest=n.data_digest,
            max_data=self.limits.max_recv_data_segment,
        )
        if total == 0 or at + total > end:
            return 0
        self.last_heard = now
        try:
            self._dispatch(view[at : at + total], now)
        except PduRejected as rejected:
            self.reject(rejected, bytes(view[at : at + BHS]))
        except PeerError:
            raise
        except Exception as bug:
            bug.add_note(HEADER_NOTE + bytes(view[at : at + BHS]).hex())
            raise
        return total

    def needs(self, view: memoryview, at: int, end: int) -> int:
        """How long the PDU at ``view[at]`` will be, as far as that can be told; 0 when it cannot."""
        n = self.negotiated
        return measure_untrusted(
            view,
            at,
            end,
            header_digest=n.header_digest,
            data_digest=n.data_digest,
            max_data=self.limits.max_recv_data_segment,
        )

    def _parts(self, view: memoryview) -> tuple[memoryview, memoryview, bool]:
        """AHS, data segment without padding, and whether the data digest (if any) is right."""
        ahs_end = BHS + view[4] * 4
        length = view[5] << 16 | view[6] << 8 | view[7]
        start = ahs_end + (4 if self.negotiated.header_digest else 0)
        good = True
        if length and self.negotiated.data_digest:
            padded = start + ((length + 3) & ~3)
            good = crc32c(view[start : padded + 4]) == RIGHT
        return view[BHS:ahs_end], view[start : start + length], good

    def _dispatch(self, view: memoryview, now: float) -> None:
        opcode = view[0] & 0x3F
        if opcode == Opcode.DATA_OUT and self.host is not None:
            self._data_out(view, now)
        elif (
            (opcode == Opcode.SCSI_COMMAND and self.host is not None)
            or opcode == Opcode.NOP_OUT
            or (opcode == Opcode.TASK_MANAGEMENT_REQUEST and self.host is not None)
            or opcode in (Opcode.TEXT_REQUEST, Opcode.LOGOUT_REQUEST)
        ):
            self._in_order(view, now)
        elif opcode == Opcode.SNACK_REQUEST:
            # ErrorRecoveryLevel 0 has nothing to send again.
            raise PduRejected(RejectReason.SNACK_REJECT, "SNACK at ErrorRecoveryLevel 0")
        elif opcode == Opcode.LOGIN_REQUEST:
            raise PduRejected(RejectReason.PROTOCOL_ERROR, "Login Request in full feature phase")
        else:
            raise PduRejected(RejectReason.COMMAND_NOT_SUPPORTED, f"opcode 0x{opcode:02x}")

    def _in_order(self, view: memoryview, now: float) -> None:
        """§4.2.2.1: numbered requests run in CmdSN order; immediate ones at once."""
        if view[0] & 0x40:
            self._run(view, now)
            return
        if view[0] & 0x3F == Opcode.NOP_OUT and int.from_bytes(view[16:20]) == NO_TAG:
            raise FramingLost("NOP-Out without a tag must be immediate", "NOP-Out without a tag")  # §11.18.1
        number = int.from_bytes(view[24:28])
        ahead = serial_distance(self.exp_cmd_sn, number)
        if ahead < 0 or ahead >= self.window:
            return  # outside the window: ignored in silence
        if ahead:
            if number not in self.held:
                self._hold(number, view)
            return
        self._take_number()
        self._run_or_reject(view, now)
        self.run_held(now)

    def _take_number(self) -> None:
        self.exp_cmd_sn = (self.exp_cmd_sn + 1) & MASK

    def _hold(self, number: int, view: memoryview) -> None:
        # On a single connection nobody has a reason to send much out of order.
        room = self.held_bytes + len(view) <= self.limits.session_write_bytes
        if not room or (self.host is not None and not self.host.room_for(len(view))):
            raise FramingLost(
                f"more than {self.held_bytes} bytes of commands ahead of their turn", "too far ahead"
            )
        self.held.setdefault(number, []).append(bytes(view))
        self.held_bytes += len(view)

    def skip(self, number: int) -> None:
        """§11.5.1: the command of this number counts as received and aborted; then call ``run_held``."""
        self.held_bytes -= sum(map(len, self.held.get(number, ())))
        self.held[number] = []

    def run_held(self, now: float) -> None:
        """Those whose turn it is now."""
        while self.held and self.exp_cmd_sn in self.held and not self.closing:
            pdus = self.held.pop(self.exp_cmd_sn)
            self.held_bytes -= sum(map(len, pdus))
            self._take_number()
            for late in pdus:
                self._run_or_reject(memoryview(late), now)

    def _run_or_reject(self, view: memoryview, now: float) -> None:
        try:
            if view[0] & 0x3F == Opcode.DATA_OUT:
                self._data_out(view, now)
            else:
                self._run(view, now)
        except PduRejected as rejected:
            self.reject(rejected, bytes(view[:BHS]))

    def _run(self, view: memoryview, now: float) -> None:
        opcode = view[0] & 0x3F
        if opcode == Opcode.SCSI_COMMAND:
            self._command(view, now)
            return
        _, data, good = self._parts(view)
        if not good:
            raise PduRejected(RejectReason.DATA_DIGEST_ERROR, "data digest does not match")
        header = bytes(view[:BHS])
        if opcode == Opcode.NOP_OUT:
            self._nop_out(pdu.NopOut.unpack_untrusted(header, data=bytes(data)))
        elif opcode == Opcode.TEXT_REQUEST:
            self._text(pdu.TextRequest.unpack_untrusted(header, data=bytes(data)))
        elif opcode == Opcode.LOGOUT_REQUEST:
            self._logout(pdu.LogoutRequest.unpack_untrusted(header))
        elif self.host is not None:
            self.host.manage(pdu.TaskManagementRequest.unpack_untrusted(header))

    # -- SCSI commands -----------------------------------------------------------------------------------

    def _command(self, view: memoryview, now: float) -> None:
        (opcode, flags, _, lun, tag, expected, *_) = COMMAND_AS_10.unpack_from(view)
        immediate = bool(opcode & 0x40)
        ahs, data, good = self._parts(view)
        if tag == NO_TAG:
            raise PduRejected(RejectReason.INVALID_PDU_FIELD, "initiator task tag ffffffffh")
        if tag in self.tasks:
            raise PduRejected(RejectReason.TASK_IN_PROGRESS, f"initiator task tag 0x{tag:08x} is in use")
        if immediate and self.immediate_outstanding >= self.limits.immediate_commands:
            if not flags & FINAL:
                self.discard(tag)
            raise PduRejected(RejectReason.TOO_MANY_IMMEDIATE_COMMANDS, "too many immediate commands")
        cdb = bytes(view[CDB:BHS])
        if len(ahs):
            cdb = pdu.ScsiCommand.unpack_untrusted(bytes(view[:BHS]), ahs=bytes(ahs)).full_cdb_untrusted()
        task = Task(
            initiator_task_tag=tag,
            lun=lun,
            cdb=cdb,
            attribute=flags & ATTRIBUTE,
            reads=bool(flags & READ),
            writes=bool(flags & WRITE),
            expected=expected,
            immediate=immediate,
            header=bytes(view[:BHS]),
        )
        if self.discarding:
            self.discarding.pop(tag, None)
        self.start(task)
        try:
            if len(data) and not task.writes:
                task.expected = 0
            if not good:  # §7.8: whatever else may be wrong with it, this is answered with a Reject
                self._wrong_digest(view)
                raise CheckCondition(*PROTOCOL_SERVICE_CRC_ERROR, why="immediate data with a wrong digest")
            if task.writes or len(data):
                n = self.negotiated
                begin_unsolicited(
                    task,
                    final=bool(flags & FINAL),
                    length=len(data),
                    first_burst=n.first_burst,
                    immediate_data=n.immediate_data,
                    initial_r2t=n.initial_r2t,
                )
        except CheckCondition as check:
            if not flags & FINAL:
                task.unsolicited = True  # what is on its way must be swallowed
            self.check_condition(task, check)
            return
        self._host.command(task)
        if task.ended:
            return
        if task.unsolicited:
            task.deadline = now + self.limits.r2t_seconds
        task.received = len(data)
        if data and task.wanted:
            self._host.data(task, 0, data[: task.wanted])
        if not task.unsolicited and task.wanted and not task.ended:
            self._host.burst(task)

    @property
    def _host(self) -> Host:
        if self.host is None:
            raise FramingLost("SCSI in a discovery session", "SCSI in a discovery session")
        return self.host

    def expect(self, task: Task, wanted: int) -> None:
        """The command takes ``wanted`` bytes of write data; they will come through ``host.data``."""
        task.wanted = wanted

    def _data_out(self, view: memoryview, now: float) -> None:
        _, flags, _, _, itt, ttt, _, data_sn, offset = DATA_OUT.unpack_from(view)
        task = self.tasks.get(itt)
        if task is None:
            if self._hold_data(itt, view):
                return
            if itt in self.discarding:
                if flags & FINAL:
                    self.discarding.pop(itt, None)
                return
            raise PduRejected(
                RejectReason.INVALID_PDU_FIELD, f"Data-Out for task 0x{itt:08x}, which is not here"
            )
        _, data, good = self._parts(view)
        try:
            if not good:
                self._wrong_digest(view)
                if flags & FINAL:
                    task.unsolicited, task.target_transfer_tag = False, None
                raise CheckCondition(*PROTOCOL_SERVICE_CRC_ERROR, why="Data-Out with a wrong digest")
            start = task.received
            accept_data_out(
                task, tag=ttt, data_sn=data_sn, offset=offset, length=len(data), final=bool(flags & FINAL)
            )
        except CheckCondition as check:
            if flags & FINAL:
                task.unsolicited, task.target_transfer_tag = False, None
            self.check_condition(task, check)
            self._host.abandoned(task)
            return
        if start < task.wanted and data:
            self._host.data(task, start, data[: task.wanted - start])
        # A command that takes no data may have announced some: then there is nobody to tell.
        if flags & FINAL and task.wanted and not task.ended:
            self._host.burst(task)

    def _wrong_digest(self, view: memoryview) -> None:
        """Reject it now; what becomes of its task is said after that."""
        self.reject(
            PduRejected(RejectReason.DATA_DIGEST_ERROR, "data digest does not match"), bytes(view[:BHS])
        )

    def _hold_data(self, itt: int, view: memoryview) -> bool:
        """Unsolicited data of a command that waits for an earlier CmdSN waits with it."""
        for number, pdus in self.held.items():
            if pdus and tag_of(pdus[0]) == itt and pdus[0][0] & 0x3F == Opcode.SCSI_COMMAND:
                self._hold(number, view)
                return True
        return False

    # -- the rest ----------------------------------------------------------------------------------------

    def _nop_out(self, request: pdu.NopOut) -> None:
        self.may_ping = True
        if request.target_transfer_tag != NO_TAG:
            if request.target_transfer_tag == self.ping_tag:
                self.ping_tag = None
            return
        if request.initiator_task_tag == NO_TAG:
            return  # nobody waits for an answer
        data = request.data[: self.negotiated.max_xmit_data_segment]
        self.send_pdu(
            pdu.NopIn(
                lun=request.lun,
                initiator_task_tag=request.initiator_task_tag,
                target_transfer_tag=NO_TAG,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                data=data,
            )
        )

    def _text(self, request: pdu.TextRequest) -> None:
        if self.text is None:
            self.text = TextExchange(self.limits, self.negotiated)
        text = self.text
        answer = text.receive_untrusted(request)
        if isinstance(answer, AskTargets):
            answer = text.targets_say(self.targets(answer.name))
        self.send_pdu(
            attrs.evolve(
                answer, stat_sn=self.take_stat_sn(), exp_cmd_sn=self.exp_cmd_sn, max_cmd_sn=self.max_cmd_sn
            )
        )
        if text.max_xmit_data_segment != self.negotiated.max_xmit_data_segment:
            self.negotiated = attrs.evolve(self.negotiated, max_xmit_data_segment=text.max_xmit_data_segment)

    def _logout(self, request: pdu.LogoutRequest) -> None:
        """§11.14, §11.15.  With one connection, closing the connection and closing the session are one."""
        if request.reason == LogoutReason.CLOSE_SESSION:
            response = LogoutResponseCode.CLOSED
        elif request.reason == LogoutReason.CLOSE_CONNECTION:
            mine = request.cid == self.negotiated.cid
            response = LogoutResponseCode.CLOSED if mine else LogoutResponseCode.CID_NOT_FOUND
        elif request.reason == LogoutReason.REMOVE_CONNECTION_FOR_RECOVERY:
            response = LogoutResponseCode.RECOVERY_NOT_SUPPORTED
        else:
            raise PduRejected(RejectReason.INVALID_PDU_FIELD, f"logout reason {request.reason}")
        if response == LogoutResponseCode.CLOSED:
            self.closing = True
            if self.host is not None:
                self.host.leave()
        self.send_pdu(
            pdu.LogoutResponse(
                response=response,
                initiator_task_tag=request.initiator_task_tag,
                stat_sn=self.take_stat_sn(),
                exp_cmd_sn=self.exp_cmd_sn,
                max_cmd_sn=self.max_cmd_sn,
                time2wait=self.negotiated.time2wait,
                time2retain=self.negotiated.time2retain,
            )
        )

    def late_transfers(self, now: float) -> list[Task]:
        """Tasks whose burst should have been complete by now."""
        return [
            t
            for t in self.tasks.values()
            if (t.unsolicited or t.target_transfer_tag is not None) and t.deadline and t.deadline < now
        ]


def tag_of(header: bytes) -> int:
    """The initiator task tag."""
    return int.from_bytes(header[16:20])
