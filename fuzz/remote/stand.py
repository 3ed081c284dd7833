"""Where a campaign stands: the target, the unit as we know it, and a witness who lives there beside the liar.

Between two cases it looks at what a case must not have done: ended the target, silenced it, dropped the
witness, touched what nobody wrote to.  Raises ``Find`` for that."""

import contextlib
import time

from fuzz.content import SECTOR
from fuzz.find import Find
from fuzz.remote.address import Address
from fuzz.remote.ground import CANARY, FarDisk, fresh, successor
from fuzz.remote.plain import Gone, Plain, Refused, Silent
from fuzz.remote.private import Private
from scsipub.errors import OperatorError

MODELLED = 8192  # sectors of a unit that are known; the liar stays there, mostly
ZONE = 64  # the last of them are the witness's
BACK = 20.0  # seconds that somebody else's target gets to come back after a crash


class Stand:
    """``begin`` anew, ``look`` after each case, ``close``."""

    def __init__(
        self,
        address: Address | None,
        private: Private | None = None,
        *,
        patience: float = 5.0,
        lane: int = 0,
    ) -> None:
        self.private = private
        self.lane = lane if private is not None and private.shared else 0  # which of its units is ours
        self._address = address
        self.patience = patience
        self.witness: Plain | None = None
        self.disk: FarDisk = fresh(b"", SECTOR, 0)
        self.block_size = SECTOR
        self.blocks = 0
        self.read_only = False
        self.login_seconds = 0.0
        self.starts = private.starts if private is not None else 0  # of the target that we know

    @property
    def address(self) -> Address:
        if self.private is not None:
            return self.private.addresses[self.lane]
        if self._address is None:
            raise OperatorError("no target", "give an iscsi:// URL")
        return self._address

    @property
    def disks(self) -> dict[int, FarDisk]:
        return {self.address.lun: self.disk}

    @property
    def stale(self) -> bool:
        """Has somebody else begun the target anew?  Then whatever was seen proves nothing."""
        return self.private is not None and self.private.starts != self.starts

    # -- before ------------------------------------------------------------------------------------------

    def begin(self, *, anew: bool = False) -> None:
        """Be ready for a case: a living target, a witness, a known unit.  Raises ``OperatorError``."""
        if self.private is not None and (anew or self.private.died()):
            self.away()
            self.private.start_since(self.starts)
        self.starts = self.private.starts if self.private is not None else 0
        until = time.monotonic() + BACK
        while True:
            try:
                self._enter()
                return
            except (Gone, Silent, Refused) as error:
                self.away()
                if self.private is not None:
                    self.private.start_since(self.starts)
                    self.starts = self.private.starts
                elif isinstance(error, Refused) and error.status >> 8 == 2:
                    raise OperatorError(
                        f"{self.address} refuses us: {error}", "check its name, user and secret"
                    ) from error
                if time.monotonic() > until:
                    raise OperatorError(
                        f"{self.address} does not answer: {error}", "start it again"
                    ) from error
                time.sleep(0.2)

    def _enter(self) -> None:
        if self.witness is None:
            began = time.monotonic()
            self.witness = Plain(self.address, seconds=self.patience)
            self.login_seconds = time.monotonic() - began
        witness = self.witness
        witness.settle()
        if not self.blocks:
            self._measure(witness)
        if self.disk.disturbed:
            self._tidy(witness)
        self._snapshot(witness)

    def _measure(self, witness: Plain) -> None:
        ended = witness.command(b"\x9e\x10" + bytes(8) + (32).to_bytes(4) + bytes(2), read=32)
        last, size = int.from_bytes(ended.data[:8]), int.from_bytes(ended.data[8:12])
        if ended.status:
            ended = witness.command(b"\x25" + bytes(9), read=8)
            last, size = int.from_bytes(ended.data[:4]), int.from_bytes(ended.data[4:8])
        if ended.status or not size or size % SECTOR:
            raise OperatorError(f"{self.address} is no disk: READ CAPACITY says {ended}", "name another LUN")
        self.blocks, self.block_size = last + 1, size

    def _snapshot(self, witness: Plain) -> None:
        """Look at all of the modelled part, and lay the witness's bytes down."""
        sectors = min(MODELLED, self.blocks * self.block_size // SECTOR)
        data, hidden = bytearray(), []
        step = 65536 // self.block_size
        for first in range(0, sectors * SECTOR // self.block_size, step):
            count = min(step, sectors * SECTOR // self.block_size - first)
            there = self.read(witness, first, count)
            if there is None:
                hidden.append((len(data) // SECTOR, count * self.block_size // SECTOR))
            data += there if there is not None else bytes(count * self.block_size)
        self.disk = successor(self.disk, fresh(bytes(data), self.block_size, self.blocks), time.monotonic())
        self.disk.content.forget_all(hidden)
        self._lay(witness)

    def read(self, witness: Plain, first: int, count: int) -> bytes | None:
        """READ(10), after whatever unit attention stands in the way.  None when it is refused, as by a
        reservation that the liar has left behind."""
        cdb = b"\x28\0" + first.to_bytes(4) + b"\0" + count.to_bytes(2) + b"\0"
        for _ in range(8):
            ended = witness.command(cdb, read=count * self.block_size)
            if not ended.status:
                return ended.data
            if not ended.attention:
                break
        return None

    @property
    def _zone(self) -> tuple[int, int]:
        """First block and count of what is the witness's."""
        blocks = self.disk.content.sectors * SECTOR // self.block_size
        count = max(1, ZONE * SECTOR // self.block_size)
        return max(0, blocks - count), min(count, blocks)

    def _lay(self, witness: Plain) -> None:
        first, count = self._zone
        data = CANARY * (count * self.block_size // len(CANARY) + 1)
        data = data[: count * self.block_size]
        if self.disk.content.data[first * self.block_size :][: len(data)] == data:
            return
        cdb = b"\x2a\0" + first.to_bytes(4) + b"\0" + count.to_bytes(2) + b"\0"
        ended = witness.command(cdb, write=data)
        if ended.attention:
            ended = witness.command(cdb, write=data)
        if ended.status == 0:
            self.disk.content.put(first * self.block_size // SECTOR, data)
        else:
            self.read_only = ended.status == 2 and len(ended.sense) > 2 and ended.sense[2] & 15 == 7

    # -- after -------------------------------------------------------------------------------------------

    def look(self, *, carefully: bool = False) -> None:
        """What must be as before?  ``carefully``: somebody has reason to doubt."""
        died = self.private.died() if self.private is not None else ""
        if not died and self.witness is not None:
            try:
                self._see(self.witness, carefully)
            except Silent:
                died = self.private.died() if self.private is not None else ""
                if not died:
                    self._silent()
            except Gone as gone:
                time.sleep(0.05)  # a process takes a moment to die
                died = self.private.died() if self.private is not None else ""
                if not died:
                    self._dropped(gone)
        if died:
            self.away()
            raise Find(f"crash: {died}", f"{self.private.name if self.private else 'the target'} is gone")
        if self.private is not None and (said := self.private.complaints()):
            raise Find("crash inside", said)

    def _see(self, witness: Plain, carefully: bool) -> None:
        witness.settle(self.patience)
        first, count = self._zone
        if carefully or self.disk.unsure:
            self._enter()
            return
        wait = max((until for until, *_ in self.disk.haunted), default=0.0) - time.monotonic()
        if self.disk.disturbed:
            self._tidy(witness)
        if wait > 0:
            return  # a write that was given up may still come
        data = self.read(witness, first, count)
        wrong = self.disk.complaint(first * self.block_size // SECTOR, data) if data is not None else ""
        if wrong:
            self.disk.content.forget(first * self.block_size // SECTOR, count * self.block_size // SECTOR)
            self._enter()
            raise Find("wrong data: the witness's", wrong)
        self._lay(witness)

    def _tidy(self, witness: Plain) -> None:
        """Reservations that the liar left behind go: registered, then cleared."""
        key = b"witness!"
        register = b"\x5f\x06" + bytes(3) + (24).to_bytes(4) + b"\0"
        if not witness.command(register, write=bytes(8) + key + bytes(8)).status:
            witness.command(b"\x5f\x03" + bytes(3) + (24).to_bytes(4) + b"\0", write=key + bytes(16))
        witness.settle()
        self.disk.disturbed = False

    def _silent(self) -> None:
        """The witness hears nothing.  Does somebody else?"""
        self.away()
        try:
            other = Plain(self.address, seconds=self.patience, isid=2)
            other.settle()
            other.close()
        except (Silent, Gone, Refused) as error:
            raise Find(
                "hang: the target", f"the witness gets no answer, nor does a new session: {error}"
            ) from error
        raise Find("hang: another session", "the witness gets no answer, a new session does")

    def _dropped(self, gone: Gone) -> None:
        self.away()
        try:
            Plain(self.address, seconds=self.patience, isid=2).close()
        except Gone as error:
            raise Find("gone", f"the witness lost its connection, and nobody gets in: {error}") from error
        except (Silent, Refused) as error:
            raise Find("hang: the target", f"the witness lost its connection, then: {error}") from error
        raise Find("another session was dropped", str(gone))

    def away(self) -> None:
        """The witness leaves."""
        if self.witness is not None:
            with contextlib.suppress(OSError, Gone, Silent):
                self.witness.link.close()
        self.witness = None

    def close(self) -> None:
        if self.witness is not None:
            self.witness.close()
        self.witness = None
