"""The world of one script: units on real disks, a worker's one outbox, and two connections to them.

Joins the parts as ``scsipub.worker`` does, without sockets, threads and clock, and takes the steps of a
script. Between the initiator's bytes and the target stands the referee, who hears both.  Raises
``Find``."""

import os
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

from fuzz import mangle
from fuzz.content import SECTOR
from fuzz.effects import Disk as KnownDisk
from fuzz.entry import Entry
from fuzz.find import Find
from fuzz.ground import (
    BUFFER,
    CANARY,
    LIMITS,
    STALE,
    Connection,
    Ground,
    Units,
    open_session,
    units_of,
)
from fuzz.referee import Referee
from fuzz.speech import resolve
from fuzz.steps import Step
from scsipub.errors import CheckCondition, CommandEnded, FramingLost, PeerError
from scsipub.target.backing import Job
from scsipub.target.nexus import Nexus
from scsipub.target.turn import turn


class World:
    """``take`` steps, then ``finish``; ``close`` in any case."""

    def __init__(self, ground: Ground, setup: dict[str, Any], seen: Counter[tuple[str, str]]) -> None:
        self.ground = ground
        self.setup = setup
        self.seen = seen
        self.out = ground.out
        self.now = 0.0
        self.holding = False
        self.pdus = 0
        self.answers = 0
        self.jobs: list[tuple[Connection, Job]] = []
        self.backgrounds: list[tuple[Connection, Any]] = []
        self.woken: list[Connection] = []
        self.gone: list[Nexus] = []
        self.logins = 0
        ground.worlds += 1
        budget = int(setup.get("budget", 1 << 30))
        first = units_of(ground, budget, neighbour=False)
        self.units = (first, first if setup.get("shared") else units_of(ground, budget, neighbour=True))
        self.connections: list[Connection | None] = [None, None]

    # -- steps -------------------------------------------------------------------------------------------

    def take(self, step: Step) -> None:
        """One step of the script."""
        connection = self.connections[step.who]
        kind = step.kind
        if kind == "say":
            if connection is not None:
                self._say(connection, step)
        elif kind == "connect":
            if connection is not None:
                self._close(connection)
            self.logins += 1
            self.connections[step.who] = Connection(
                step.who, Entry(LIMITS, self.logins, self.seen), self.units[step.who],
                apart=self.units[step.who] is not self.units[0],
            )  # fmt: skip
        elif kind == "drop":
            if connection is not None:
                self._close(connection)
        elif kind == "hold":
            self.holding = bool(step.n)
        elif kind == "work":
            if self.jobs:
                self._work(step.n % len(self.jobs))
        elif kind == "stall":
            if connection is not None:
                connection.stalled = bool(step.n)
                if connection.nexus is not None:
                    self._guarded(connection, _nothing)
        elif kind == "background":
            self._background()

    def _say(self, connection: Connection, step: Step) -> None:
        data = resolve(connection, step)
        if mangle.has(step, "late") is not None:
            connection.late += data
            return
        split = mangle.has(step, "split")
        if split is not None and split < len(data):
            connection.inbox += data[:split]
            self._deliver(connection)
            data = data[split:]
        connection.inbox += data + connection.late
        connection.late = b""
        if not step.more:
            self._deliver(connection)

    # -- to the target -----------------------------------------------------------------------------------

    def _deliver(self, connection: Connection) -> None:
        inbox = connection.inbox
        if len(inbox) > BUFFER - 4096:
            self._close(connection)
            return
        view, at = self.ground.buffer, 0
        while at < len(inbox) and not connection.closed:
            end = len(inbox)
            if connection.referee is None:
                used = self._login(connection, bytes(inbox[at:]))
                if not used:
                    break
                at += used
                continue
            # Other deliveries share the buffer, as sessions do: lay our bytes out anew.
            view[:end] = inbox
            view[end : end + len(STALE)] = STALE
            taken = self._pdus(connection, connection.referee, view, at, end)
            if not taken:
                break
            at += taken
        if not connection.closed:
            del inbox[:at]

    def _pdus(self, connection: Connection, referee: Referee, view: memoryview, at: int, end: int) -> int:
        """Give the target what is at ``at``: one PDU, or several whose outcome is plain."""
        length = referee.whole(view, at, end)
        referee.begin()
        if length <= 0:
            referee.may_drop = "framing" if length < 0 else ""
            taken = self._turn(connection, view, at, end)
            if taken:
                raise Find("framing", f"took {taken} bytes of a PDU that is not whole")
            if length < 0 and not connection.closed:
                raise Find("framing", "a PDU too long or with a wrong header digest was not dropped")
            return 0
        stop = at + length
        it = bytes(view[at:stop])
        plain = referee.plain(it)
        referee.said(it)
        self.pdus += 1
        while plain and (more := referee.whole(view, stop, end)) > 0:
            it = bytes(view[stop : stop + more])
            if not referee.plain(it):
                break
            referee.said(it)
            self.pdus += 1
            stop += more
        taken = self._turn(connection, view, at, stop)
        if not connection.closed:
            if taken != stop - at:
                raise Find("no progress", f"took {taken} of {stop - at} bytes")
            referee.end()
            if referee.lax:
                self._close(connection)
        return taken

    def _turn(self, connection: Connection, view: memoryview, at: int, end: int) -> int:
        nexus = connection.nexus
        if nexus is None:
            raise RuntimeError("no session yet")
        position = at

        def go() -> None:
            nonlocal position
            while position < end:
                before, position = position, turn(nexus, view, position, end, self.now)
                if position in (end, before) or nexus.session.closing:
                    return
                self._after(connection)

        self._guarded(connection, go)
        return position - at

    def _guarded(self, connection: Connection, deed: Callable[[], None]) -> None:
        """Run what belongs to this session, send what it caused, and see that nothing escapes."""
        referee, nexus = connection.referee, connection.nexus
        if referee is None or nexus is None:
            return
        try:
            deed()
            self._after(connection)
        except FramingLost as lost:
            self._hear(connection)
            if not referee.may_drop:
                raise Find("dropped without cause", lost.why) from lost
            self.seen["connection", f"dropped: {referee.may_drop}"] += 1
            self._close(connection)
            return
        except Find:
            raise
        except PeerError as error:
            raise Find("escaped", repr(error)) from error
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise Find(
                "exception", f"{error!r} at {os.path.basename(where.filename)}:{where.name}"
            ) from error
        if nexus.session.closing:
            if not (referee.closing or referee.may_close):
                raise Find("closed without cause", nexus.session.counters.last_error)
            self._close(connection)

    def _after(self, connection: Connection) -> None:
        """What ``worker.connection`` does after a turn."""
        nexus = connection.nexus
        if nexus is None:
            return
        out, streams = self.out, nexus.streams
        while True:
            if nexus.posted:
                nexus.deliver()
            if streams.queue:
                streams.pump(nexus.limits.session_output_bytes if connection.stalled else 0)
            if nexus.jobs:
                jobs, nexus.jobs = nexus.jobs, ()
                self.jobs += [(connection, job) for job in jobs]
            if nexus.backgrounds:
                works, nexus.backgrounds = nexus.backgrounds, ()
                self.backgrounds += [(connection, work) for work in works]
            self._bounds(nexus)
            if not out.queued and (self.holding or not self.jobs):
                break
            self._hear(connection)
            while self.jobs and not self.holding:
                self._finish_job(0)
        while self.woken:
            other = self.woken.pop()
            if other is not connection and not other.closed:
                self._guarded(other, _nothing)

    def _bounds(self, nexus: Nexus) -> None:
        session, limits = nexus.session, nexus.limits
        if len(session.tasks) > limits.command_window + limits.immediate_commands:
            raise Find("bound", f"{len(session.tasks)} tasks")
        if nexus.writes.held() > limits.session_write_bytes:
            raise Find("bound", f"{nexus.writes.held()} bytes held, {session.held_bytes} ahead of their turn")
        if self.out.queued > limits.output_backpressure_bytes:
            raise Find("bound", f"{self.out.queued} bytes in the outbox")

    def _hear(self, connection: Connection) -> None:
        """Take the answers out, and let the referee look at them."""
        if not self.out.queued:
            return
        used = self.out.used
        stream = b"".join(self.out.take())
        self.out.view[:used] = self._stale(used)
        if STALE in stream:
            raise Find("leak", "bytes of a shared buffer came out")
        if not connection.who and CANARY in stream and self.units[0] is not self.units[1]:
            raise Find("leak", "bytes of the neighbour's disk came out")
        if connection.closed or connection.referee is None:
            raise Find("answer after the end", f"{len(stream)} bytes")
        self.answers += connection.referee.heard(stream)

    _stales = STALE * (2 * 1024 * 1024 // len(STALE) + 1)

    def _stale(self, size: int) -> bytes:
        return self._stales[:size]

    # -- threads -----------------------------------------------------------------------------------------

    def _work(self, index: int) -> None:
        connection, _ = self.jobs[index]
        if connection.referee is not None:
            connection.referee.begin()
        if connection.closed:
            self._finish_job(index)
            self._wake_others()
        else:
            self._guarded(connection, lambda: self._finish_job(index))
            if not connection.closed and connection.referee is not None:
                connection.referee.end()

    def _finish_job(self, index: int) -> None:
        connection, job = self.jobs.pop(index)
        result, error = None, None
        try:
            result = job.work()
        except (OSError, CheckCondition, CommandEnded) as caught:
            error = caught
        nexus = connection.nexus
        if nexus is None:
            raise RuntimeError("a job of no session")
        nexus.finished(job, result, error, self.now)
        if connection.closed:
            if self.out.queued:
                raise Find("answer after the end", f"{self.out.queued} bytes")
        else:
            self._hear(connection)

    def _wake_others(self) -> None:
        while self.woken:
            other = self.woken.pop()
            if not other.closed:
                self._guarded(other, _nothing)

    def _background(self) -> None:
        while self.backgrounds:
            connection, (work, backing, over) = self.backgrounds.pop(0)
            for known in connection.units.known.values():
                if connection.units.backings and known.content.sectors == backing.disk.sectors:
                    known.content.forget(0, known.content.sectors)
            try:
                while work.step(backing.medium, self.now) is not None:
                    pass
                error = None
            except OSError as failed:
                error = CheckCondition(3, 0x0C, 0, why=str(failed))
            except CheckCondition as check:
                error = check
            over(error)
            self._wake_others()

    def _peek(self, connection: Connection, disk: KnownDisk, first: int, count: int) -> bytes | None:
        """What lies there now.  None while a thread of a connection that is gone, or work behind commands,
        may still change it."""
        if self.backgrounds or any(other.closed for other, _ in self.jobs):
            return None
        lun = next(lun for lun, known in connection.units.known.items() if known is disk)
        data = bytearray(count * SECTOR)
        connection.units.backings[lun].disk.read(first, count, memoryview(data))
        return bytes(data)

    # -- login -------------------------------------------------------------------------------------------

    def _login(self, connection: Connection, data: bytes) -> int:
        entry = connection.entry
        used, finished = entry.receive(data)
        self.pdus += bool(used)
        if entry.over:
            connection.closed = True
            self.connections[connection.who] = None
        elif finished is not None:
            open_session(connection, finished, self.out, self.seen, lambda: self.woken.append(connection))
            if connection.referee is not None:
                connection.referee.peek = lambda disk, first, count: self._peek(
                    connection, disk, first, count
                )
        return used

    # -- the end -----------------------------------------------------------------------------------------

    def _close(self, connection: Connection) -> None:
        connection.closed = True
        self.connections[connection.who] = None
        nexus, referee = connection.nexus, connection.referee
        if nexus is None or referee is None:
            return
        if nexus in connection.units.nexuses:
            connection.units.nexuses.remove(nexus)
        referee.closed()
        if referee in connection.units.referees:
            connection.units.referees.remove(referee)
        nexus.close()
        self.gone.append(nexus)
        if self.out.queued:
            raise Find("answer after the end", f"{self.out.queued} bytes at the close")
        self._wake_others()

    def finish(self) -> None:
        """Let everything end, and look at what must be left: the right bytes, and nothing else."""
        self.holding = False
        for connection in list(self.connections):
            if connection is not None:
                connection.stalled = False
        for _ in range(3):
            while self.jobs:
                self._work(0)
            self._background()
            for connection in list(self.connections):
                if connection is not None and connection.referee is not None:
                    self._guarded(connection, _nothing)
        for connection in list(self.connections):
            if connection is not None and connection.referee is not None:
                connection.referee.unfinished()
        for connection in list(self.connections):
            if connection is not None:
                self._close(connection)
        while self.jobs:
            self._work(0)
        self._background()
        for units in {id(u): u for u in self.units}.values():
            self._look(units)
        for nexus in self.gone:
            session = nexus.session
            left = (
                len(session.tasks), LIMITS.command_window - session.window, session.immediate_outstanding,
                nexus.writes.buffered, len(nexus.dying), len(nexus.streams.queue), nexus.streams.in_threads,
            )  # fmt: skip
            if any(left):
                raise Find("bound", f"left behind: {left}")

    def _look(self, units: Units) -> None:
        for lun, backing in units.backings.items():
            if not backing.quiet or backing.unit.lanes:
                raise Find("bound", f"LUN {lun}: jobs or lanes are left")
            data = bytearray(backing.disk.sectors * SECTOR)
            try:
                backing.disk.read(0, backing.disk.sectors, memoryview(data))
            except OSError as error:
                raise Find("exception", f"{error!r} when reading LUN {lun} in the end") from error
            content = units.known[lun].content
            complaint = content.complaint(0, bytes(data), epoch=content.epoch)
            if complaint:
                raise Find("content", f"LUN {lun} in the end: {complaint}")

    def close(self) -> None:
        """Give everything back, whatever state it is in."""
        self.out.take()
        for units in {id(u): u for u in self.units}.values():
            for backing in units.backings.values():
                backing.disk.destroy()


def _nothing() -> None: ...
