"""A logical unit with a medium and one or more nexuses, and one call that carries a plan out."""

import attrs

from scsipub.errors import CheckCondition, CommandEnded
from scsipub.scsi import sense
from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.lane import Lane
from scsipub.scsi.plan import Plan
from scsipub.scsi.unit import LogicalUnit
from tests.support.medium import MemoryMedium

UUID = bytes(range(16))


@attrs.frozen
class Ended:
    """How a command ended: its data, or why it did not."""

    data: bytes = b""
    status: int = sense.GOOD
    check: CheckCondition | None = None

    @property
    def key(self) -> tuple[int, int, int] | None:
        """Sense key, code and qualifier; None for GOOD and for other statuses."""
        return (int(self.check.key), self.check.asc, self.check.ascq) if self.check else None


@attrs.define(eq=False)
class Bench:
    """``bench(cdb, data)`` does what the target does with a command, in one breath."""

    unit: LogicalUnit
    medium: MemoryMedium
    lane: Lane
    now: float = 0.0

    def __call__(
        self, cdb: bytes | str, data: bytes = b"", *, lane: Lane | None = None, piece: int = 0
    ) -> Ended:
        raw = bytes.fromhex(cdb) if isinstance(cdb, str) else cdb
        try:
            plan = self.unit.begin(lane or self.lane, raw.ljust(16, b"\0"), self.now)
            return Ended(self.carry_out(plan, data, piece))
        except CheckCondition as check:
            return Ended(status=sense.CHECK_CONDITION, check=check)
        except CommandEnded as ended:
            return Ended(status=ended.status)
        except OSError as error:
            return Ended(
                status=sense.CHECK_CONDITION, check=sense.sense_for_oserror(error, writing=plan.writes)
            )

    def carry_out(self, plan: Plan, data: bytes, piece: int = 0) -> bytes:
        plan.check_length(len(data))
        data = data[: plan.data_out]
        answer: bytes | None = None
        if plan.reply is not None:
            answer = plan.reply
        elif plan.read_blocks:
            answer = bytes(self.medium.read(plan.first, plan.count))
        elif plan.piece is not None:
            step = piece or len(data) or 1
            for at in range(0, len(data), step):
                plan.piece(self.medium, at, data[at : at + step])
        elif plan.run is not None:
            answer = plan.run(self.medium, data)
        if plan.finish is not None:
            answer = plan.finish(self.medium) or answer
        if plan.background is not None:
            self.background(plan)
        if plan.after is not None:
            plan.after()
        return answer or b""

    def background(self, plan: Plan) -> None:
        """Run to the end, with time passing as the work asks for."""
        work = plan.background
        if work is None:
            return
        work.start(self.now)
        error: CheckCondition | None = None
        try:
            while (wait := work.step(self.medium, self.now)) is not None:
                self.now += wait
        except OSError as failed:
            error = sense.sense_for_oserror(failed, writing=True)
        work.finish(error)
        if error is not None and work.waits:
            raise error

    def another(self, nexus: str = "iqn.2025-01.test:two") -> Lane:
        return self.unit.attach(nexus)


def bench(*, blocks: int = 1024, **config: object) -> Bench:
    settings = UnitConfig(uuid=UUID, **config)  # type: ignore[arg-type]
    medium = MemoryMedium(blocks=blocks, block_size=settings.block_size)
    unit = LogicalUnit(settings, blocks)
    return Bench(unit, medium, unit.attach("iqn.2025-01.test:one"))


def cdb(template: str, **fields: int) -> bytes:
    """``cdb("28 00 L:4 00 N:2 00", L=5, N=1)``: hex bytes, and named big-endian fields with their size."""
    out = b""
    for word in template.split():
        name, colon, size = word.partition(":")
        out += fields[name].to_bytes(int(size), "big") if colon else bytes.fromhex(word)
    return out
