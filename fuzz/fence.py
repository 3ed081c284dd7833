"""Reservations as the referee knows them: who may do what, from PERSISTENT RESERVE OUT that ended well.

Source: SPC-4 §5.13 (table 57 and the service actions), SPC-2 §5.5 (RESERVE and RELEASE).  A second opinion:
it shares no code with ``scsipub.scsi``.  Where it cannot know (a command was aborted, or its list is odd) it
says so, and asks for nothing until somebody has cleared the table."""

import attrs

REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORE, MOVE = range(8)
# Groups of commands.  SPC-4 table 57, SBC-3 table 4.
READING = {0x08, 0x28, 0x88, 0xA8, 0x2F, 0x8F, 0xAF, 0x34, 0x90}
WRITING = {0x0A, 0x2A, 0x8A, 0xAA, 0x2E, 0x8E, 0xAE, 0x41, 0x93, 0x42, 0x89, 0x8B, 0x9C, 0x35, 0x91}
FREE = {0x00, 0x03, 0x12, 0xA0, 0x5E, 0x25}
EXCLUSIVE_ACCESS, SHARED, ALL_HOLD = {3, 6, 8}, {5, 6, 7, 8}, {7, 8}


@attrs.define
class Fence:
    """One unit.  Who: the numbers of its initiator ports."""

    keys: dict[int, int] = attrs.field(factory=dict)
    kind: int = 0
    holder: int = -1
    unknown: bool = False
    epoch: int = 0  # moves with every change: what was true when a command came may not be when it ran

    def forget(self) -> None:
        """Something happened of which the outcome is not known."""
        self.unknown = True
        self.epoch += 1

    def conflict(self, who: int, cdb: bytes) -> bool | None:
        """Must this end in RESERVATION CONFLICT?  None: it may or may not."""
        opcode = cdb[0]
        if opcode in FREE:
            return False
        if self.unknown or opcode not in READING | WRITING:
            return None
        if not self.kind or (opcode in READING and self.kind not in EXCLUSIVE_ACCESS):
            return False
        if self.kind in SHARED:
            return who not in self.keys
        return who != self.holder

    def done(self, who: int, cdb: bytes, data: bytes) -> None:
        """PERSISTENT RESERVE OUT ended well."""
        action, scope_type = cdb[1] & 0x1F, cdb[2]
        self.epoch += 1
        if len(data) != 24 or data[20] & 0x08 or action == MOVE:
            self.forget()  # SPEC_I_PT, or somebody else's port
            return
        key, service = int.from_bytes(data[:8]), int.from_bytes(data[8:16])
        if self.unknown:
            if action == CLEAR:
                self.keys, self.kind, self.holder, self.unknown = {}, 0, -1, False
            return
        if action in (REGISTER, IGNORE):
            self._register(who, service)
        elif action == RESERVE:
            if not self.kind:
                self.kind, self.holder = scope_type & 15, -1 if scope_type & 15 in ALL_HOLD else who
        elif action == RELEASE:
            if self.kind and (who == self.holder or self.kind in ALL_HOLD):
                self.kind, self.holder = 0, -1
        elif action == CLEAR:
            self.keys, self.kind, self.holder = {}, 0, -1
        else:
            self._preempt(who, key, service, scope_type & 15)

    def must_fail(self, who: int, cdb: bytes, data: bytes) -> str:
        """Why this PERSISTENT RESERVE OUT must not end well; empty when it may."""
        action = cdb[1] & 0x1F
        if self.unknown or len(data) < 24:
            return ""
        key = int.from_bytes(data[:8])
        if action == REGISTER and key != self.keys.get(who, 0):
            return "REGISTER with another key than is registered"
        if action in (RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT) and key != self.keys.get(who):
            return f"service action {action} without being registered with this key"
        if action == RESERVE and self.kind:
            mine = who == self.holder or (self.kind in ALL_HOLD and who in self.keys)
            if not mine or cdb[2] & 15 != self.kind:
                return "RESERVE although somebody holds a reservation, or with another type"
        return ""

    def _register(self, who: int, service: int) -> None:
        if service:
            self.keys[who] = service
            return
        self.keys.pop(who, None)
        if who == self.holder or (self.kind in ALL_HOLD and not self.keys):
            self.kind, self.holder = 0, -1

    def _preempt(self, who: int, key: int, service: int, kind: int) -> None:
        gone = {port for port, theirs in self.keys.items() if theirs == service}
        takes = self.kind and (
            (self.kind in ALL_HOLD and not service) or (self.kind not in ALL_HOLD and self.holder in gone)
        )
        if not takes and who in gone:
            self.forget()  # preempting oneself: SPC-4 leaves room
            return
        if takes and self.kind in ALL_HOLD:
            gone = set(self.keys)
        for port in gone - {who}:
            self.keys.pop(port)
        if takes:
            self.kind, self.holder = kind, -1 if kind in ALL_HOLD else who
        elif self.kind in ALL_HOLD and not self.keys:
            self.kind, self.holder = 0, -1
