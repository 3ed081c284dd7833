"""Names for what lives, and news of its end.

Source: Elixir's Registry (a name vanishes with its owner) and Process.monitor (Down comes exactly once).
Knows trio's Event.  A name is owned by a ``with`` block, so it cannot outlive its owner.

    with registry.hold("disk:7", disk):          # the owner's task
        await disk.run()

    registry.find("disk:7")                      # anybody
    down = await registry.monitor("disk:7").wait()
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import attrs
import trio

from supervisor.exits import Crashed, Reason, Returned, Stopped

T = TypeVar("T")


class NameTaken(Exception):
    """Somebody holds this name already."""


class NoSuchName(LookupError):
    """Nobody holds this name."""


@attrs.frozen
class Down:
    """The owner of ``name`` is gone.  ``reason`` is None if there was none when the monitor was set."""

    name: str
    reason: Reason | None


class Monitor:
    """One watcher's ear.  It hears one Down and then nothing more."""

    __slots__ = ("_callback", "_event", "_heard", "_owner", "name")

    def __init__(self, name: str, callback: "Callable[[Down], object] | None") -> None:
        self.name = name
        self._callback = callback
        self._event = trio.Event()
        self._heard: Down | None = None
        self._owner: _Entry | None = None

    async def wait(self) -> Down:
        """Until the owner is gone.  Never returns after ``cancel``."""
        while self._heard is None:
            await self._event.wait()
            if self._heard is None:
                await trio.sleep_forever()
        return self._heard

    def cancel(self) -> None:
        """Stop listening: no Down will come, unless it has come already."""
        if self._owner is not None:
            self._owner.monitors.pop(self, None)
            self._owner = None

    def _tell(self, down: Down) -> None:
        self._heard, self._owner = down, None
        self._event.set()
        if self._callback is not None:
            self._callback(down)


@attrs.define(eq=False)
class _Entry:
    value: object
    # A dict, for its order: who watched first hears first.
    monitors: dict[Monitor, None] = attrs.field(factory=dict)


@attrs.frozen
class RegistryStatistics:
    names: int
    monitors: int


class Registry(Generic[T]):
    """Names are unique; values are whatever a caller needs to reach the owner."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._values: dict[str, T] = {}

    @contextlib.contextmanager
    def hold(self, name: str, value: T) -> Iterator[None]:
        """Own ``name`` for as long as the block lasts.  Raises NameTaken.

        At its end the name is free first and the monitors hear second, so that a listener may take it over.
        """
        if name in self._values:
            raise NameTaken(name)
        entry = _Entry(value)
        self._entries[name], self._values[name] = entry, value
        reason: Reason = Returned()
        try:
            yield
        except trio.Cancelled:
            reason = Stopped()
            raise
        except BaseException as exc:
            reason = Crashed(exc)
            raise
        finally:
            del self._entries[name], self._values[name]
            self._tell_all(entry, Down(name, reason))

    def _tell_all(self, entry: _Entry, down: Down) -> None:
        with contextlib.ExitStack() as every:  # one listener's exception does not rob the others of the news
            for monitor in reversed(entry.monitors):
                every.callback(monitor._tell, down)

    def find(self, name: str) -> T:
        """What the owner gave.  Raises NoSuchName."""
        try:
            return self._values[name]
        except KeyError:
            raise NoSuchName(name) from None

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def names(self) -> list[str]:
        """All names, the oldest first."""
        return list(self._values)

    def monitor(self, name: str, callback: "Callable[[Down], object] | None" = None) -> Monitor:
        """Hear when the present owner of ``name`` goes.  If there is none, Down has come already.

        ``callback`` is called once, in the owner's task; it must not wait.
        """
        monitor = Monitor(name, callback)
        entry = self._entries.get(name)
        if entry is None:
            monitor._tell(Down(name, None))
        else:
            entry.monitors[monitor] = None
            monitor._owner = entry
        return monitor

    def statistics(self) -> RegistryStatistics:
        return RegistryStatistics(
            len(self._values), sum(len(entry.monitors) for entry in self._entries.values())
        )
