"""What to measure and what came out: the two records of the measuring client, and the plan of addresses.

Pure; randomness comes in as a seed, so two runs ask for the same blocks in the same order."""

import random
from enum import StrEnum
from typing import Any

import attrs

from scsipub.bench.histogram import Histogram

PLAN = 1 << 16  # addresses planned ahead; the plan is gone through again and again


class Digests(StrEnum):
    """CRC32C over headers and data (RFC 7143 §13.1), and how much of the work the client does.

    Every mode but ``none`` makes right digests for all that is sent.  ``unchecked`` skips those that come
    back: the client stays cheap and the target is what is measured, but nobody learns whether it sums
    rightly.  ``checked`` looks at every one, as a real initiator does, and pays for it."""

    NONE = "none"
    UNCHECKED = "unchecked"
    CHECKED = "checked"


@attrs.frozen(kw_only=True)
class Job:
    """One measurement."""

    depth: int = 32  # commands in flight, per connection
    block_size: int = 4096  # bytes a command transfers
    read_percent: int = 100
    sequential: bool = False
    seconds: float = 2.0
    ramp_seconds: float = 0.2  # not counted
    connections: int = 1
    spin: bool = False  # poll the socket instead of sleeping
    span_bytes: int = 0  # use only so much of the unit; 0: all of it
    seed: int = 1
    digests: Digests = attrs.field(default=Digests.NONE, converter=Digests)
    initiator: str = "iqn.2025-01.pub.scsipub:bench"


@attrs.define(kw_only=True)
class Report:
    """What a measurement found."""

    job: Job
    operations: int = 0  # in the counted time
    operations_total: int = 0  # with the ramp; what the target worked for
    seconds: float = 0.0
    cpu_seconds: float = 0.0  # of this client, in all
    latency: Histogram = attrs.Factory(Histogram)
    rates: list[tuple[float, float]] = attrs.Factory(list)  # (second, operations a second) along the way

    @property
    def iops(self) -> float:
        return self.operations / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "job": attrs.asdict(self.job),
            "iops": round(self.iops, 1),
            "mib_per_second": round(self.iops * self.job.block_size / 2**20, 2),
            "operations": self.operations,
            "operations_total": self.operations_total,
            "seconds": round(self.seconds, 4),
            "client_cpu_us_per_operation": round(self.cpu_seconds * 1e6 / max(1, self.operations_total), 2),
            "latency_us": self.latency.summary(),
            "rates": self.rates,
        }


@attrs.frozen
class Plan:
    """Which block, and read or write, command by command."""

    lbas: list[int]
    reads: list[bool]


def make_plan(job: Job, unit_blocks: int, unit_block_size: int, lane: int) -> Plan:
    """The plan of one connection; ``lane`` tells connections apart."""
    per_command = job.block_size // unit_block_size
    usable = unit_blocks * unit_block_size
    slots = min(usable, job.span_bytes or usable) // job.block_size
    if per_command < 1 or job.block_size % unit_block_size or slots < 1:
        raise ValueError(
            f"commands of {job.block_size} bytes do not fit a unit of {unit_blocks} × {unit_block_size}"
        )
    chance = random.Random(job.seed * 1000 + lane)
    if job.sequential:
        first = slots * lane // job.connections
        lbas = [(first + n) % slots * per_command for n in range(max(PLAN, slots))]
    else:
        lbas = [chance.randrange(slots) * per_command for _ in range(PLAN)]
    reads = [chance.randrange(100) < job.read_percent for _ in lbas]
    return Plan(lbas, reads)
