"""Nexus: one initiator at one target.  Turns PDUs into commands and plans into reads, writes and answers.

Source: SAM-5 §4.7 (nexus), §5 (command model).  Sans-IO: reads and writes the cached part of a disk inline
through the ``Disk`` it was given; what would block becomes a ``Job`` in ``jobs``.

After every call that may have made jobs or answers (``receive``, ``finished``, ``deliver``, ``pump``) the
caller starts the jobs and sends the outbox.  The outbox belongs to all sessions of a worker in turn, so
whatever one nexus causes another one to say goes by ``post``."""

from collections.abc import Callable
from typing import Any

from scsipub.errors import HEADER_NOTE, CheckCondition, CommandEnded
from scsipub.iscsi import pdu
from scsipub.iscsi.session import Session
from scsipub.iscsi.transfers import Task
from scsipub.limits import Limits
from scsipub.scsi import absent
from scsipub.scsi.plan import Background, Plan
from scsipub.scsi.sense import logical_unit_not_supported, sense_for_oserror, wrong_data_length
from scsipub.scsi.unit import LogicalUnit
from scsipub.target.backing import Backing, Job
from scsipub.target.faulty import Faulty
from scsipub.target.management import Management
from scsipub.target.order import Order
from scsipub.target.reserving import reserve
from scsipub.target.running import FLAT, Path, Paths, Running
from scsipub.target.streams import Streams
from scsipub.target.throttle import BY_BLOCKS, THROTTLED, Throttle
from scsipub.target.writes import PLAIN_WRITES, Writes

# For so long writes go to threads after one that held up the loop.
THREADS_SECONDS = 0.05


class Nexus:
    """One per session.  ``wake`` is called when ``jobs`` or ``posted`` has grown, by whomever."""

    __slots__ = (
        "backgrounds", "dying", "faults", "jobs", "limits", "management", "now", "order", "paths", "posted",
        "session", "streams", "throttle", "wake", "writes",
    )  # fmt: skip

    def __init__(self, limits: Limits, paths: dict[int, Path], wake: Callable[[], None]) -> None:
        self.limits = limits
        self.paths = Paths()
        for lun, path in paths.items():
            self.paths.add(lun, path)
        self.wake = wake
        # What is empty most of the time is a tuple: it is replaced, not changed, and an empty one is free.
        self.jobs: tuple[Job, ...] = ()
        # Work that outlives its command: (what, on which disk, what to call at its end).
        self.backgrounds: tuple[tuple[Background, Backing, Callable[[CheckCondition | None], None]], ...] = ()
        self.streams = Streams(self)
        self.writes = Writes(self)
        self.management = Management(self)
        self.dying: dict[Task, list[Callable[[], None]]] = {}  # ended, but a thread is still at it: who waits
        self.order = Order(self)
        self.posted: tuple[Callable[[], None], ...] = ()  # what others want said here, in our own time
        self.throttle: Throttle | None = None  # shared by all sessions of the target, if that has limits
        self.faults: Faulty | None = None  # somebody tests this initiator
        self.now = 0.0
        self.session: Session  # set by the worker right after construction: the two know each other

    # -- Host: what the session asks ---------------------------------------------------------------------

    def command(self, task: Task) -> None:
        if self.order.must_wait(task):
            self.order.wait(task)
            self.writes.wait(task)
            return
        self.begin(task)

    def begin(self, task: Task) -> None:
        """Nothing is in the way of this command any more."""
        self.order.begins(task)
        if self.faults is None or not self.faults.strike(self, task):
            self.share(task, self.now)

    def share(self, task: Task, now: float) -> None:
        """If there are limits, it must be within them."""
        throttle = self.throttle
        if task.ended:
            return
        if throttle is not None and task.cdb[0] in THROTTLED and not throttle.enter(self, task, now):
            self.writes.wait(task)
            return
        self.go(task, now)

    def go(self, task: Task, now: float) -> None:
        """Its turn has come."""
        if task.ended:
            return
        self.now = now
        early = self.writes.take_early(task)
        path = self.paths.get(task.lun)
        try:
            if path is None:
                self._absent(task)
            else:
                self._carry_out(task, path, path.lane.unit.begin(path.lane, task.cdb, self.now))
        except CheckCondition as check:
            self.session.check_condition(task, check)
        except CommandEnded as ended:
            self.session.respond(task, ended.status, actual=0)
        if early is not None and not task.ended:
            if early and task.wanted:
                self.writes.data(task, memoryview(early)[: task.wanted], counted=True)
            if not task.unsolicited and task.wanted and not task.ended:
                self.burst(task)

    def data(self, task: Task, offset: int, data: memoryview) -> None:
        self.writes.data(task, data)

    def burst(self, task: Task) -> None:
        self.writes.burst(task)

    def room_for(self, size: int) -> bool:
        return self.writes.room_for(size)

    def _absent(self, task: Task) -> None:
        lun = absent.lun_untrusted(task.lun)
        begin = absent.begin_well_known if lun.well_known else absent.begin
        plan = begin(task.cdb, self.paths.luns())
        self._succeed(task, plan, plan.reply)

    def _carry_out(self, task: Task, path: Path, plan: Plan) -> None:
        plan.check_length(task.expected if task.writes else 0)
        if self.throttle is not None and task.cdb[0] in BY_BLOCKS:
            more = plan.count * path.block_size - task.expected
            self.throttle.spend(max(0, more), operations=0)
        if plan.data_out:
            self._take_data(task, path, plan)
        elif plan.read_blocks:
            self.streams.start(task, path, plan)
        elif plan.reply is not None:
            self._succeed(task, plan, plan.reply)
        else:
            task.host = Running(path, plan)
            self._run(task, b"")

    def _take_data(self, task: Task, path: Path, plan: Plan) -> None:
        wanted = min(plan.data_out, task.expected) if task.writes else 0
        task.host = Running(path, plan)
        if plan.piece is not None:
            if wanted % path.block_size and task.cdb[0] not in PLAIN_WRITES:
                self._refuse_length(task, plan)
                return
            if wanted == 0:
                self._succeed(task, plan, None)
                return
        else:
            # A list shorter than the CDB says cannot be read.  Initiators round the length up to four bytes.
            if wanted < plan.data_out:
                self._refuse_length(task, plan)
                return
            task.host.collected = bytearray()
        self.session.expect(task, wanted)

    def _refuse_length(self, task: Task, plan: Plan) -> None:
        """The one refusal whose residual says by how much the two lengths differ.  RFC 7143 §11.4.5.1."""
        refusal = wrong_data_length(plan.data_out, task.expected)
        self.session.check_condition(task, refusal, actual=plan.data_out)

    def write_in_threads(self, now: float) -> None:
        """A turn took so long that an inline write must have waited: for a moment threads do the waiting."""
        for path in self.paths.values():
            path.backing.inline_after = now + THREADS_SECONDS

    def _run(self, task: Task, data: bytes) -> None:
        """All the data is here: do what the plan says."""
        run: Running = task.host
        plan, medium = run.plan, run.path.backing.medium
        finish, work = plan.finish, plan.run

        def deed() -> bytes | None:
            if finish is not None:
                return finish(medium)
            return work(medium, data) if work is not None else None

        def after(result: bytes | None, error: BaseException | None) -> None:
            run.job = None
            self.writes.ran(run)
            if self._over(task):
                return
            if error is not None:
                self.fail(task, error, writing=plan.writes)
            elif plan.commit is not None:
                reserve(self, task, plan, run.path.backing)
            elif plan.background is not None:
                self._in_background(task, plan, plan.background)
            else:
                self.session.counters.bytes_written += len(data) if plan.writes else 0
                self._succeed(task, plan, result)

        if finish is None and not plan.blocking:
            try:
                result = deed()
            except (CheckCondition, CommandEnded, OSError) as error:
                after(None, error)
            else:
                after(result, None)
            return
        shift = run.path.shift
        self._job(run, deed, after, plan.first << shift, plan.count << shift, plan.writes)

    def _in_background(self, task: Task, plan: Plan, background: Background) -> None:
        background.start(self.now)

        def over(error: CheckCondition | None) -> None:
            background.finish(error)
            self.post(lambda: self._background_over(task, plan, error))

        if background.waits:
            self.backgrounds += ((background, task.host.path.backing, over),)
        else:
            self.backgrounds += ((background, task.host.path.backing, background.finish),)
            self._succeed(task, plan, None)

    def _background_over(self, task: Task, plan: Plan, error: CheckCondition | None) -> None:
        if task.ended:
            return
        if error is None:
            self._succeed(task, plan, None)
        else:
            self.fail(task, error, writing=True)

    def manage(self, request: pdu.TaskManagementRequest) -> None:
        self.management.receive(request)

    def sense(self, task: Task, check: CheckCondition) -> bytes:
        path = self.paths.get(task.lun)
        return absent.sense_for(check) if path is None else path.lane.sense_for(check)

    def abandoned(self, task: Task) -> None:
        self._drop(task)  # a READ that was sent write data is over, too
        self.writes.forget(task)
        self.settle()

    def post(self, deed: Callable[[], None]) -> None:
        """Run ``deed`` in a turn of our own.

        Whoever is not this nexus must not answer for it directly: the outbox is everybody's, and what lies
        in it leaves on the connection whose turn it is."""
        self.posted += (deed,)
        self.wake()

    def deliver(self) -> None:
        """Do what was posted.  The caller's turn is ours."""
        while self.posted:
            deed, self.posted = self.posted[0], self.posted[1:]
            deed()

    # -- the end of a command ----------------------------------------------------------------------------

    def _succeed(self, task: Task, plan: Plan, result: bytes | None) -> None:
        if plan.after is not None:
            try:
                plan.after()
            except CheckCondition as check:
                self.session.check_condition(task, check)
                self.settle()
                return
        if result is not None:
            self.session.counters.bytes_read += len(result)
            self.session.reply(task, result)
        else:
            self.session.respond(task, 0x00, actual=plan.data_out)
        self.settle()

    def fail(self, task: Task, error: BaseException, *, writing: bool) -> None:
        if isinstance(error, OSError):
            error = sense_for_oserror(error, writing=writing)
        if isinstance(error, CheckCondition):
            self.session.check_condition(task, error)
        elif isinstance(error, CommandEnded):
            self.session.respond(task, error.status, actual=0)
        else:
            error.add_note(HEADER_NOTE + task.header.hex())
            raise error
        self.writes.forget(task)
        self.settle()

    def _over(self, task: Task) -> bool:
        """The command was aborted while its thread ran: tell who waits, and say True."""
        if not task.ended:
            return False
        self.gone(task)
        return True

    def gone(self, task: Task) -> None:
        """The thread of a task that had ended before is back."""
        for callback in self.dying.pop(task, ()):
            callback()

    def settle(self) -> None:
        """A task ended: let those go on that waited for it or for its memory."""
        self.order.settle()
        self.writes.feed()

    def lose(self, lun: int) -> None:
        """The unit is gone: what is under way there ends as if it had never been, 05/25/00.

        In a turn of our own.  A thread that is at it cannot be stopped; the disk is closed after it."""
        for task in list(self.session.tasks.values()):
            if task.lun & ~FLAT == lun << 48 and not task.ended:
                self.session.check_condition(task, logical_unit_not_supported())
                self.abandoned(task)

    def is_for(self, task: Task, unit: LogicalUnit) -> bool:
        path = self.paths.get(task.lun)
        return path is not None and path.lane.unit is unit

    # -- jobs --------------------------------------------------------------------------------------------

    def _job(
        self,
        run: Running,
        work: Callable[[], Any],
        after: Callable[[Any, BaseException | None], None],
        first: int,
        count: int,
        writes: bool,
    ) -> None:
        run.job = Job(run.path.backing, work, after, self._ready, first, first + count - 1, writes)
        run.path.backing.admit(run.job)

    def _ready(self, job: Job) -> None:
        self.jobs += (job,)
        self.wake()

    def finished(self, job: Job, result: Any, error: BaseException | None, now: float) -> None:
        """A job's thread is done.  Answers may be in the outbox, new jobs in ``jobs``."""
        self.now = now
        job.backing.finished(job)
        job.done(result, error)

    def abort(self, task: Task, when_over: Callable[[], None]) -> bool:
        """End the task in silence.  True: it is over.  The caller calls ``settle`` after the last one.

        False: a thread still works on it, and ``when_over`` will be called when that has ended."""
        self.session.end(task)
        self._drop(task)
        self.writes.forget(task)
        if task not in self.dying:
            return True
        self.dying[task].append(when_over)
        return False

    def _drop(self, task: Task) -> None:
        self.streams.drop(task)
        if self.throttle is not None:
            self.throttle.drop(task)

    def leave(self) -> None:
        for task in list(self.session.tasks.values()):
            self.abort(task, _nothing)

    def close(self) -> None:
        """The connection is gone: end everything.  Threads at work for it come back to ``finished``."""
        self.leave()
        # Jobs that were let in but that nobody will start any more would hold their ranges for ever.
        while self.jobs:
            job, self.jobs = self.jobs[0], self.jobs[1:]
            self.finished(job, None, None, self.now)
        for path in {id(p): p for p in self.paths.values()}.values():
            path.backing.left(path.lane)


def _nothing() -> None: ...
