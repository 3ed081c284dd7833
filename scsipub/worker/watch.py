"""The watch: once a second, look at every session for what only time can tell.

One task for all sessions of a worker, because ten thousand timers cost more than one walk.  Pings go only to
initiators that have shown that they know them; a firmware initiator is never disturbed."""

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import trio

from scsipub.errors import CheckCondition
from scsipub.iscsi.transfers import NOT_ENOUGH_UNSOLICITED_DATA, Task

if TYPE_CHECKING:
    from scsipub.worker.live import Live
    from scsipub.worker.main import Worker

WALK_SECONDS = 1.0
SLICE = 500  # sessions looked at before others get the loop


async def watch(worker: "Worker") -> None:
    while True:
        await trio.sleep(WALK_SECONDS)
        held = 0
        for i, live in enumerate(list(worker.live.values())):
            held += weight(live)
            try:
                look(worker, live, monotonic())
            except Exception as bug:  # of ours, and nobody else's business
                worker.telling.crashed(live.arrival, bug)
                live.child.cancel()
            if i % SLICE == SLICE - 1:
                await trio.lowlevel.checkpoint()
        if held > worker.limits.worker_held_bytes:
            relieve(worker)


def weight(live: "Live") -> int:
    """Bytes in memory for one session: answers that its peer has not taken, and write data that waits."""
    nexus = live.connection.nexus
    return live.connection.output.unsent + nexus.writes.buffered + nexus.session.held_bytes


def relieve(worker: "Worker") -> None:
    """Each session is within its bounds, and all together hold too much: some end before all do.

    Those that take nothing go first, and of these the heaviest.  Honest initiators log in again."""
    held = 0
    heavy = []
    for live in worker.live.values():
        bytes_held = weight(live)
        held += bytes_held
        if bytes_held:
            heavy.append((live.connection.stalled_since == 0.0, -bytes_held, live.id, live))
    for _, less, _, live in sorted(heavy):
        if held <= worker.limits.worker_held_bytes:
            return
        held += less
        live.connection.nexus.session.counters.last_error = "memory is short"
        worker.telling.complain("memory is short", live.arrival, f"{-less} bytes", initiator=live.initiator)
        live.child.cancel()


def look(worker: "Worker", live: "Live", now: float) -> None:
    """Decide about one session.  Ends it, pings it, or leaves it alone.

    What is said, is said in the session's own turn: a socket that fails here must not end the walk."""
    limits, connection = worker.limits, live.connection
    session = connection.nexus.session
    live.recent.mark(session.counters.operations, now)
    if session.counters.reasons:
        worker.tell_rejects(live)
    if connection.stalled_since and now - connection.stalled_since > limits.transmit_stall_seconds:
        session.counters.last_error = "the initiator took no data"
        live.child.cancel()
        return
    if session.tasks:
        for task in session.late_transfers(now):
            connection.nexus.post(partial(give_up, live, task))
    else:
        session.tasks.clear()  # an empty dict keeps its table; cleared, it has none, which is 160 bytes less
    if session.ping_tag is not None:
        if now - max(session.last_ping, session.last_heard) > limits.nop_answer_seconds:
            session.counters.last_error = "pings went unanswered"
            live.child.cancel()
    elif session.may_ping and now - session.last_heard > limits.nop_silence_seconds:
        connection.nexus.post(partial(session.ping, now))


def give_up(live: "Live", task: Task) -> None:
    """Write data that was asked for has not come in time."""
    nexus = live.connection.nexus
    if task.ended:
        return  # in the meantime
    why = "write data did not come"
    nexus.session.check_condition(task, CheckCondition(*NOT_ENOUGH_UNSOLICITED_DATA, why=why))
    nexus.abandoned(task)
