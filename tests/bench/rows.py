"""What is measured: one row for each question, one client for each column of clients."""

import attrs

KIB = 1024


@attrs.frozen
class Row:
    """One load, one connection."""

    name: str
    block_size: int
    depth: int
    write: bool = False
    sequential: bool = False
    digests: bool = False  # of headers and data
    goal: float = 0.0  # times tgt, with our own client; 0: none
    keeps: float = 0.0  # of our own speed in the row without digests; 0: no goal

    @property
    def key(self) -> str:
        return self.plain_key + ("-digests" if self.digests else "")

    @property
    def plain_key(self) -> str:
        """The key of the same load without digests."""
        kind = "write" if self.write else "read"
        order = "seq" if self.sequential else "rand"
        return f"{self.block_size // KIB}k-{order}-{kind}-qd{self.depth}"


ROWS = [
    Row("4 KiB random reads, depth 32", 4 * KIB, 32, goal=2.5),
    Row("4 KiB random reads, depth 32, both digests", 4 * KIB, 32, digests=True, keeps=0.6),
    Row("4 KiB random writes, depth 32", 4 * KIB, 32, write=True, goal=2.5),
    Row("4 KiB random reads, depth 1", 4 * KIB, 1, goal=2.5),
    Row("128 KiB sequential reads, depth 32", 128 * KIB, 32, sequential=True, goal=1.7),
    Row("128 KiB sequential reads, depth 1", 128 * KIB, 1, sequential=True),
]
