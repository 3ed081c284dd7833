"""What would block goes to a thread, and comes back to the loop.

Knows trio's threads.  A disk call cannot be cancelled, so nothing here is abandoned: a session that ends
waits for its threads, and a disk is closed only after them."""

import logging
from collections.abc import Callable
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from scsipub.errors import CheckCondition
from scsipub.scsi.plan import Background
from scsipub.scsi.sense import sense_for_oserror
from scsipub.target.backing import Backing, Job

if TYPE_CHECKING:
    from scsipub.worker.connection import Connection
    from scsipub.worker.main import Worker

Said = TypeVar("Said")
Returned = TypeVar("Returned")

log = logging.getLogger("scsipub.worker")

# Is this thread the unit's own?  Then it may be held up without others missing it.
APART: ContextVar[bool] = ContextVar("APART", default=False)

INTERNAL_TARGET_FAILURE = (0x04, 0x44, 0x00)  # HARDWARE ERROR


async def _in_thread(
    worker: "Worker", backing: Backing, work: Callable[..., Returned], *about: object
) -> Returned:
    """In one of the worker's; a unit in trouble has its own, so that all others find theirs free."""
    if backing.trouble is None:
        return await trio.to_thread.run_sync(work, *about, limiter=worker.threads)
    return await trio.to_thread.run_sync(_apart, work, *about, limiter=backing.trouble.threads)


def _apart(work: Callable[..., Returned], *about: object) -> Returned:
    APART.set(True)  # for this call: a thread has a copy of its task's context
    return work(*about)


async def run_job(connection: "Connection", job: Job) -> None:
    """One job, from thread to answer."""
    result: Any = None
    error: BaseException | None = None
    # Once admitted a job holds its range: it must run and be reported, whatever happens to the session.
    began = monotonic()
    with trio.CancelScope(shield=True):
        try:
            result = await _in_thread(connection.worker, job.backing, job.work)
        except Exception as caught:
            # Whatever it was, the range must be free again; ``finished`` raises what is not SCSI's business.
            error = caught
        connection.worker.latency.add(monotonic() - began, 1)
        connection.do(lambda: connection.nexus.finished(job, result, error, monotonic()))


async def run_background(
    worker: "Worker", background: Background, backing: Backing, over: Callable[[CheckCondition | None], None]
) -> None:
    """Work that outlives its command, one bounded step at a time."""
    error: CheckCondition | None = None
    backing.backgrounds += 1
    try:
        while not backing.gone:
            pause = await _in_thread(worker, backing, background.step, backing.medium, monotonic())
            if pause is None:
                break
            await trio.sleep(pause)
    except CheckCondition as check:
        error = check
    except OSError as failed:
        error = sense_for_oserror(failed, writing=True)
    except Exception:
        # A bug of ours.  Nobody stands above this task but the whole worker, so it ends here.
        log.exception("background work crashed")
        error = CheckCondition(*INTERNAL_TARGET_FAILURE, why="background work crashed")
    finally:
        backing.backgrounds -= 1
    beside_sessions(over, error)


def beside_sessions(deed: Callable[[Said], None], said: Said) -> None:
    """Do something that runs in no session's scope: a bug in it must not end the worker."""
    try:
        deed(said)
    except Exception:
        log.exception("%r crashed", deed)
