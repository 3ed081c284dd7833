"""Writes: the write data of one nexus, from the wire to the disk, and how much of it may be held.

Sans-IO.  Data goes to the disk as it comes, if that takes no waiting; else it is held for a thread.  Data of
commands that may not begin yet is held as well.  One account bounds all of it together with the commands
that came ahead of their turn and with what R2Ts have invited (``session_write_bytes``): an R2T waits until
there is room, a command whose unsolicited data finds none ends with TASK SET FULL, which initiators answer
by sending it again.

Unsolicited data leaves room for one burst.  So a command that needs an R2T can always go on, and whatever
waits behind it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scsipub.iscsi.transfers import Task
from scsipub.scsi.sense import TASK_SET_FULL
from scsipub.target.running import Running

if TYPE_CHECKING:
    from scsipub.target.nexus import Nexus

# WRITE(6), (10), (12), (16): their data goes to the disk as it comes, nothing else to do.
PLAIN_WRITES = frozenset((0x0A, 0x2A, 0xAA, 0x8A))


class Writes:
    """One per nexus.  ``buffered``: bytes of write data and of parameter lists in memory."""

    __slots__ = ("buffered", "nexus", "starved")

    def __init__(self, nexus: "Nexus") -> None:
        self.nexus = nexus
        self.buffered = 0
        self.starved: tuple[Task, ...] = ()  # bursts that wait for room

    # -- the account -------------------------------------------------------------------------------------

    def held(self) -> int:
        """Bytes in memory for this session, and those that R2Ts have invited."""
        return self.buffered + self.nexus.session.held_bytes + self._coming()

    def _coming(self) -> int:
        tasks = self.nexus.session.tasks.values()
        return sum(t.burst_end - t.received for t in tasks if t.target_transfer_tag is not None)

    def room_for(self, size: int) -> bool:
        """May so many bytes that nobody has invited be held?"""
        session = self.nexus.session
        most, coming = session.limits.session_write_bytes, self._coming()
        held = self.buffered + session.held_bytes + size
        return held + coming <= most and held <= most - session.burst_bytes

    def _keep(self, task: Task, size: int, counted: bool = False) -> bool:
        """Count ``size`` bytes that are to be held; False: there is no room, and the command is over.

        What an R2T has invited always fits: it was on the account until now, as what was ``counted``."""
        if counted or task.next_r2t_sn or self.room_for(size):
            self.buffered += size
            return True
        self.nexus.session.respond(task, TASK_SET_FULL, actual=0)
        self.nexus.abandoned(task)
        return False

    # -- commands that may not begin yet -----------------------------------------------------------------

    def wait(self, task: Task) -> None:
        """Unsolicited data of a command that waits is kept; nothing is asked for yet."""
        if task.writes and task.host is None:
            self.nexus.session.expect(task, min(task.expected, self.nexus.limits.first_burst))
            task.host = bytearray()

    def take_early(self, task: Task) -> bytearray | None:
        """It begins: what has come of its data meanwhile, which is not on the account any more."""
        early = task.host if isinstance(task.host, bytearray) else None
        if early is not None:
            self.buffered -= len(early)
        task.host, task.wanted = None, 0
        return early

    # -- data --------------------------------------------------------------------------------------------

    def data(self, task: Task, data: memoryview, *, counted: bool = False) -> None:
        """The next piece, in order.  ``counted``: it was on the account when the command had to wait."""
        run = task.host
        if isinstance(run, bytearray):  # behind an ORDERED command, or throttled
            if self._keep(task, len(data)):
                run += data
            return
        if run.plan.piece is None:
            if self._keep(task, len(data), counted):
                run.collected += data
            return
        block = run.path.block_size
        if run.collected:
            data = memoryview(bytes(run.collected) + bytes(data))
            run.collected = None
        whole = len(data) - len(data) % block
        if whole < len(data):
            run.collected = bytearray(data[whole:])
            data = data[:whole]
        if not whole:
            return
        at, run.done = run.done, run.done + whole
        if run.job is None and not run.queue and self._inline(task, run, at, data):
            return
        if self._keep(task, whole, counted):
            run.queue.append((at, bytes(data)))
            self._next_piece(task, run)

    def _inline(self, task: Task, run: Running, at: int, data: memoryview) -> bool:
        plan, path = run.plan, run.path
        if plan.fua or task.cdb[0] not in PLAIN_WRITES or not path.lane.may_write:
            return False
        backing = path.backing
        first = (plan.first << path.shift) + at // 512
        if self.nexus.now < backing.inline_after or not backing.clear(
            first, first + len(data) // 512 - 1, writes=True
        ):
            return False
        try:
            return backing.disk.write_now(first, data)
        except OSError as error:
            self.nexus.fail(task, error, writing=True)
            return True

    def _next_piece(self, task: Task, run: Running) -> None:
        if run.job is not None or not run.queue or task.ended:
            return
        at, data = run.queue.popleft()
        plan, medium = run.plan, run.path.backing.medium
        piece = plan.piece
        if piece is None:
            return

        def after(_: Any, error: BaseException | None) -> None:
            run.job = None
            self.buffered -= len(data)
            self.feed()
            if self.nexus._over(task):
                return
            if error is not None:
                self.nexus.fail(task, error, writing=plan.writes)
                return
            if run.queue:
                self._next_piece(task, run)
            elif run.burst_waits:
                run.burst_waits = False
                self.burst(task)

        first = (plan.first << run.path.shift) + at // 512
        run.in_job = len(data)
        blocks = -(-len(data) // run.path.block_size)
        self.nexus._job(
            run, lambda: piece(medium, at, data), after, first, blocks << run.path.shift, plan.writes
        )

    def burst(self, task: Task) -> None:
        """A burst is complete: ask for the next, or finish the command."""
        run = task.host
        if isinstance(run, bytearray):
            return  # may not begin yet
        if run.job is not None or run.queue:
            run.burst_waits = True
        elif task.received < task.wanted:
            self.starved += (task,)
            self.feed()
        elif run.plan.piece is not None and run.collected:
            # The initiator has less for us than the CDB says: the last block keeps its other bytes.
            run.queue.append((run.done, bytes(run.collected)))
            self.buffered += len(run.collected)
            run.collected = None
            run.burst_waits = True
            self._next_piece(task, run)
        elif run.plan.piece is not None and run.plan.finish is None:
            self.nexus.session.counters.bytes_written += task.wanted
            self.nexus._succeed(task, run.plan, None)
        else:
            # A parameter list stays on the account until it has been read.
            data, run.collected = bytes(run.collected or b""), None
            run.in_job = len(data) if run.plan.piece is None else 0
            self.nexus._run(task, data)

    def ran(self, run: Running) -> None:
        """The parameter list has been read."""
        self.buffered -= run.in_job
        run.in_job = 0

    # -- room --------------------------------------------------------------------------------------------

    def feed(self) -> None:
        """Ask for the bursts that waited for room, as far as it goes."""
        session = self.nexus.session
        while self.starved:
            task = self.starved[0]
            if not task.ended and not self._room_for(min(task.wanted - task.received, session.burst_bytes)):
                return
            self.starved = self.starved[1:]
            if not task.ended:
                session.solicit(task, self.nexus.now)

    def _room_for(self, burst: int) -> bool:
        """May so many bytes be invited?

        Beyond the first burst this leaves room for the unsolicited data of the commands that may still come:
        who keeps to the rules is seldom told TASK SET FULL."""
        session, most = self.nexus.session, self.nexus.limits.session_write_bytes
        total = self.held() + burst
        if self._coming():
            negotiated = session.negotiated
            if negotiated.immediate_data or not negotiated.initial_r2t:
                total += min(most // 2, session.window * negotiated.first_burst)
        return total <= most

    def forget(self, task: Task) -> None:
        """The command is over.  A thread that is at it cannot be stopped."""
        run = task.host
        if isinstance(run, bytearray):
            self.buffered -= len(run)
            task.host = None
        elif isinstance(run, Running):
            self._forget(task, run)

    def _forget(self, task: Task, run: Running) -> None:
        self.buffered -= _size(run.queue)
        run.queue.clear()
        if run.plan.piece is None and run.collected is not None:
            self.buffered -= len(run.collected)
            run.collected = None
        if run.job is not None and run.job.backing.withdraw(run.job):
            run.job = None
            self.ran(run)
        if run.job is not None:
            self.nexus.dying.setdefault(task, [])


def _size(queue: Iterable[tuple[int, bytes]]) -> int:
    return sum(len(data) for _, data in queue)
