"""Something with a life of its own, a state nobody else touches, and a bounded mailbox.

Source: Erlang's gen_server.  Knows trio.  Does not know what the state is.

    class Counter:
        def __init__(self) -> None:
            self.value = 0

        async def add(self, n: int) -> int:
            self.value += n
            return self.value

    counter = Actor(Counter)
    nursery.start_soon(counter.run)                 # or ChildSpec("counter", counter.run)
    await counter.call(Counter.add, 3)              # -> 3; the types are checked
    await counter.cast(Counter.add, 1)              # nobody waits for the answer

One message is handled after another, in the order of arrival.  An exception that escapes a method ends the
actor, unless it is one of ``replies``: those are answers.  Every ``run`` begins with a new state.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import attrs
import outcome
import trio

from supervisor.stopping import stopping

S = TypeVar("S")
R = TypeVar("R")
P = ParamSpec("P")

# Room for a burst; who fills it must wait, which is the point.
MAILBOX = 128


class ActorDied(Exception):
    """The actor does not live, or died before it answered.  The cause, if there is one, is ``__cause__``."""


class CallsItself(Exception):
    """An actor that waits for its own answer waits for ever."""


@attrs.frozen
class ActorStatistics:
    name: str
    alive: bool
    mailbox: int
    handled: int
    casts_not_sent: int
    deaths: int


@attrs.define(eq=False)
class _Letter:
    method: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    asker: trio.lowlevel.Task | None = None


class Actor(Generic[S]):
    """A handle that outlives the lives of its actor; see the module's docstring."""

    def __init__(
        self,
        state: Callable[[], S],
        *,
        name: str = "actor",
        mailbox: int = MAILBOX,
        replies: tuple[type[Exception], ...] = (),
    ) -> None:
        self.name = name
        self._make_state = state
        self._size = mailbox
        self._replies = replies
        self._letters: deque[_Letter] = deque()
        self._present: _Letter | None = None
        self._came = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._task: trio.lowlevel.Task | None = None
        self._open = False
        self._handled = self._not_sent = self._deaths = 0

    def statistics(self) -> ActorStatistics:
        return ActorStatistics(
            self.name,
            self._task is not None,
            len(self._letters),
            self._handled,
            self._not_sent,
            self._deaths,
        )

    # ---- for others

    async def call(
        self, method: Callable[Concatenate[S, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Ask and wait for the answer.  Raises ActorDied; a time limit is the caller's cancel scope.

        A caller that is cancelled before its turn came takes the letter back.
        """
        if trio.lowlevel.current_task() is self._task:
            raise CallsItself(self.name)
        letter = _Letter(method, args, kwargs, trio.lowlevel.current_task())
        await self._post(letter)

        def abandon(_raise_cancel: object) -> trio.lowlevel.Abort:
            letter.asker = None
            if letter is not self._present:
                self._letters.remove(letter)
                self._room.unpark()
            return trio.lowlevel.Abort.SUCCEEDED

        answer: R = await trio.lowlevel.wait_task_rescheduled(abandon)
        return answer

    async def cast(
        self, method: Callable[Concatenate[S, P], Awaitable[object]], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Say it and go on; waits only while the mailbox is full.  Raises ActorDied if nobody is there."""
        await self._post(_Letter(method, args, kwargs))
        await trio.lowlevel.checkpoint()

    def try_cast(
        self, method: Callable[Concatenate[S, P], Awaitable[object]], *args: P.args, **kwargs: P.kwargs
    ) -> bool:
        """Say it now or not at all: False if the mailbox is full or the actor dead.  Never waits."""
        if not self._open or len(self._letters) >= self._size:
            self._not_sent += 1
            return False
        self._put(_Letter(method, args, kwargs))
        return True

    async def _post(self, letter: _Letter) -> None:
        while self._open and len(self._letters) >= self._size:
            await self._room.park()
        if not self._open:
            raise ActorDied(f"{self.name} does not live")
        self._put(letter)

    def _put(self, letter: _Letter) -> None:
        self._letters.append(letter)
        self._came.unpark()

    # ---- its life

    async def run(self, task_status: "trio.TaskStatus[Actor[S]]" = trio.TASK_STATUS_IGNORED) -> None:
        """Live until asked to stop (what is in the mailbox is done first), cancelled, or crashed."""
        state = self._make_state()
        stop = stopping()
        cause: BaseException | None = None
        self._task, self._open = trio.lowlevel.current_task(), True
        try:
            async with trio.open_nursery() as nursery:

                async def heed() -> None:
                    await stop.wait()
                    self._open = False
                    self._room.unpark_all()
                    self._came.unpark_all()

                nursery.start_soon(heed)
                task_status.started(self)
                await self._handle_letters(state)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            cause = group.exceptions[0] if len(group.exceptions) == 1 else group
            raise cause from None
        except BaseException as exc:
            cause = exc
            raise
        finally:
            self._die(cause)

    async def _handle_letters(self, state: S) -> None:
        while self._open or self._letters:
            if not self._letters:
                await self._came.park()
                continue
            letter = self._present = self._letters.popleft()
            self._room.unpark()
            self._handled += 1
            try:
                result = await letter.method(state, *letter.args, **letter.kwargs)
            except self._replies as exc:
                _answer(letter, outcome.Error(exc))
            else:
                _answer(letter, outcome.Value(result))
            self._present = None
            # A method may never wait; the others want their turn all the same.
            await trio.lowlevel.checkpoint()

    def _die(self, cause: BaseException | None) -> None:
        self._task, self._open = None, False
        self._deaths += isinstance(cause, Exception)
        unanswered = ([] if self._present is None else [self._present]) + list(self._letters)
        self._present = None
        self._letters.clear()
        self._room.unpark_all()
        for letter in unanswered:
            died = ActorDied(f"{self.name} died before it answered")
            died.__cause__ = cause if isinstance(cause, Exception) else None
            _answer(letter, outcome.Error(died))


def _answer(letter: _Letter, answer: "outcome.Value[Any] | outcome.Error") -> None:
    if letter.asker is not None:
        asker, letter.asker = letter.asker, None
        trio.lowlevel.reschedule(asker, answer)
