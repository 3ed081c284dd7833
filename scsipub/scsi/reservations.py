"""Persistent reservations as a machine: a state, a request, and what follows from them.

Source: SPC-4 §5.13.  Pure and without effects: ``decide`` returns the next state and who must hear of it, so
that whoever calls it can make the state durable before anything changes.  Knows no CDBs, no lanes, no units.

Where SPC-4 leaves room: PREEMPT removes every registration with the key, the caller's own among them, except
where the caller takes the reservation over."""

import enum
from collections.abc import Callable

import attrs

from scsipub.errors import CheckCondition, CommandEnded
from scsipub.scsi import attentions, sense
from scsipub.scsi.attentions import Attention
from scsipub.scsi.command import Reserved
from scsipub.scsi.ports import InitiatorPort
from scsipub.scsi.sense import Key

REGISTRATIONS = 64  # per unit


class Kind(enum.IntEnum):
    """Reservation types.  SPC-4 table 60."""

    WRITE_EXCLUSIVE = 1
    EXCLUSIVE_ACCESS = 3
    WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
    EXCLUSIVE_ACCESS_REGISTRANTS_ONLY = 6
    WRITE_EXCLUSIVE_ALL_REGISTRANTS = 7
    EXCLUSIVE_ACCESS_ALL_REGISTRANTS = 8

    @property
    def exclusive_access(self) -> bool:
        return self in (3, 6, 8)

    @property
    def shared(self) -> bool:
        """Every registrant may do what the holder may."""
        return self >= 5

    @property
    def all_hold(self) -> bool:
        return self >= 7


class Action(enum.IntEnum):
    """Service actions of PERSISTENT RESERVE OUT.  SPC-4 table 214."""

    REGISTER = 0x00
    RESERVE = 0x01
    RELEASE = 0x02
    CLEAR = 0x03
    PREEMPT = 0x04
    PREEMPT_AND_ABORT = 0x05
    REGISTER_AND_IGNORE = 0x06
    REGISTER_AND_MOVE = 0x07


@attrs.frozen
class Registration:
    port: InitiatorPort
    key: int
    all_target_ports: bool = False


@attrs.frozen(kw_only=True)
class Reservations:
    """Everything that has to survive.  ``holder`` is None for the types that all registrants hold."""

    generation: int = 0
    registrations: tuple[Registration, ...] = ()
    kind: Kind | None = None
    holder: InitiatorPort | None = None
    aptpl: bool = False  # survive a power loss, too

    def key_of(self, port: InitiatorPort) -> int | None:
        return next((entry.key for entry in self.registrations if entry.port == port), None)

    @property
    def key_of_holder(self) -> int | None:
        return None if self.holder is None else self.key_of(self.holder)

    def holds(self, port: InitiatorPort) -> bool:
        if self.kind is None:
            return False
        return self.key_of(port) is not None if self.kind.all_hold else port == self.holder

    def allows(self, port: InitiatorPort, reserved: Reserved) -> bool:
        """Whether a command of this column may pass.  SPC-4 §5.13.1, table 57."""
        if self.kind is None or reserved in (Reserved.ALLOWED, Reserved.PEEKS):
            return True
        if reserved is Reserved.READS and not self.kind.exclusive_access:
            return True
        if self.kind.shared:
            return self.key_of(port) is not None
        return port == self.holder


NOBODY = Reservations()


@attrs.frozen(kw_only=True)
class Request:
    """PERSISTENT RESERVE OUT, taken apart."""

    action: Action
    port: InitiatorPort
    key: int
    service_action_key: int = 0
    scope: int = 0
    kind: int = 0
    aptpl: bool = False
    all_target_ports: bool = False
    target_ports: int = 1  # that we have
    move_to: InitiatorPort | None = None
    unregister: bool = False

    @property
    def registers(self) -> tuple[InitiatorPort, ...]:
        """Whom a registration is for: ALL_TG_PT is as if it had come through each of our ports.

        A port that is the same at all of them has one registration anyway.  SPC-4 §6.16.3."""
        if not self.all_target_ports or self.port.target_port is None:
            return (self.port,)
        return tuple(attrs.evolve(self.port, target_port=n) for n in range(1, self.target_ports + 1))


@attrs.frozen
class Change:
    """A new state, and who brought it about: for whoever keeps it."""

    state: Reservations
    action: Action
    by: InitiatorPort


@attrs.frozen
class Outcome:
    """What the request leads to; ``preempted`` have lost their registration, ``aborts``: and their tasks."""

    state: Reservations
    news: tuple[tuple[InitiatorPort, Attention], ...] = ()
    preempted: tuple[InitiatorPort, ...] = ()
    aborts: bool = False


def _conflict(why: str) -> CommandEnded:
    return CommandEnded(sense.RESERVATION_CONFLICT, why)


def _kind(request: Request) -> Kind:
    if request.scope:
        raise sense.invalid_field(2, 7, why="the only scope is the logical unit")
    try:
        return Kind(request.kind)
    except ValueError:
        raise sense.invalid_field(2, 3, why=f"reservation type {request.kind}") from None


def decide(state: Reservations, request: Request) -> Outcome:
    """The next state, or RESERVATION CONFLICT, or what is wrong with the request."""
    registers = request.action in (Action.REGISTER, Action.REGISTER_AND_IGNORE)
    if not registers and state.key_of(request.port) != request.key:
        raise _conflict("not registered, or with another key")
    return _ACTIONS[request.action](state, request)


def _next(state: Reservations) -> Reservations:
    return attrs.evolve(state, generation=state.generation + 1 & 0xFFFFFFFF)


def _others(
    state: Reservations, port: InitiatorPort, attention: Attention
) -> tuple[tuple[InitiatorPort, Attention], ...]:
    return tuple((entry.port, attention) for entry in state.registrations if entry.port != port)


def _with(state: Reservations, new: Registration) -> Reservations:
    kept = tuple(new if entry.port == new.port else entry for entry in state.registrations)
    if new in kept:
        return attrs.evolve(state, registrations=kept)
    if len(kept) == REGISTRATIONS:
        raise CheckCondition(Key.ILLEGAL_REQUEST, 0x55, 0x04, why=f"{REGISTRATIONS} registrations")
    return attrs.evolve(state, registrations=(*kept, new))


def _without(state: Reservations, gone: Callable[[Registration], bool]) -> Reservations:
    """Registrations taken away; the reservation ends with its holder, or with the last of its holders."""
    kept = tuple(entry for entry in state.registrations if not gone(entry))
    state = attrs.evolve(state, registrations=kept)
    lost = not kept if state.kind is None or state.kind.all_hold else state.key_of_holder is None
    return attrs.evolve(state, kind=None, holder=None) if lost else state


def _register(state: Reservations, request: Request) -> Outcome:
    ports = request.registers
    keys = [state.key_of(port) for port in ports]
    if request.action is Action.REGISTER and any((key or 0) != request.key for key in keys):
        raise _conflict("the reservation key is not the registered one")
    new_key = request.service_action_key
    after = attrs.evolve(_next(state), aptpl=request.aptpl)
    if new_key:
        for port in ports:
            after = _with(after, Registration(port, new_key, request.all_target_ports))
        return Outcome(after)
    if not any(keys):
        return Outcome(state)
    after = _without(after, lambda entry: entry.port in ports)
    released = state.kind is not None and after.kind is None and state.kind.shared
    return Outcome(after, _others(after, request.port, attentions.RESERVATIONS_RELEASED) if released else ())


def _reserve(state: Reservations, request: Request) -> Outcome:
    kind = _kind(request)
    if state.kind is None:
        return Outcome(attrs.evolve(state, kind=kind, holder=None if kind.all_hold else request.port))
    if state.holds(request.port) and state.kind is kind:
        return Outcome(state)
    raise _conflict("reserved by another, or as another type")


def _release(state: Reservations, request: Request) -> Outcome:
    if state.kind is None or not state.holds(request.port):
        return Outcome(state)
    if request.scope or request.kind != state.kind:
        raise CheckCondition(Key.ILLEGAL_REQUEST, 0x26, 0x04, why="released as another type")
    news = _others(state, request.port, attentions.RESERVATIONS_RELEASED) if state.kind.shared else ()
    return Outcome(attrs.evolve(state, kind=None, holder=None), news)


def _clear(state: Reservations, request: Request) -> Outcome:
    news = _others(state, request.port, attentions.RESERVATIONS_PREEMPTED)
    return Outcome(Reservations(generation=_next(state).generation), news)


def _preempt(state: Reservations, request: Request) -> Outcome:
    victim, port = request.service_action_key, request.port
    all_hold = state.kind is not None and state.kind.all_hold
    takes_over = all_hold and victim == 0
    if state.kind is not None and not all_hold and state.key_of_holder == victim and victim:
        takes_over = True
    if not takes_over and victim == 0:
        raise sense.invalid_parameter(8, 7, "no key to preempt")
    if not takes_over and all(entry.key != victim for entry in state.registrations):
        raise _conflict("nobody has this key")

    def gone(entry: Registration) -> bool:
        if takes_over and entry.port == port:
            return False
        return entry.key == victim or (all_hold and victim == 0)

    removed = tuple(entry.port for entry in state.registrations if gone(entry))
    if takes_over:
        kind = _kind(request)
        kept = tuple(entry for entry in state.registrations if not gone(entry))
        holder = None if kind.all_hold else port
        after = attrs.evolve(_next(state), registrations=kept, kind=kind, holder=holder)
        changed = kind is not state.kind
    else:
        after = _without(_next(state), gone)
        changed = False
    news = tuple((lost, attentions.REGISTRATIONS_PREEMPTED) for lost in removed if lost != port)
    if changed:
        news += _others(after, port, attentions.RESERVATIONS_RELEASED)
    aborts = request.action is Action.PREEMPT_AND_ABORT
    return Outcome(after, news, tuple(lost for lost in removed if lost != port), aborts)


def _move(state: Reservations, request: Request) -> Outcome:
    if state.kind is None or state.kind.all_hold or state.holder != request.port:
        raise _conflict("only the one holder can hand a reservation on")
    if request.service_action_key == 0:
        raise sense.invalid_parameter(8, 7, "no key for the new holder")
    if request.move_to is None or request.move_to == request.port:
        raise sense.invalid_parameter(24, 7, "moved to itself")
    after = attrs.evolve(_next(state), aptpl=request.aptpl, holder=request.move_to)
    if request.unregister:
        kept = tuple(entry for entry in after.registrations if entry.port != request.port)
        after = attrs.evolve(after, registrations=kept)
    return Outcome(_with(after, Registration(request.move_to, request.service_action_key)))


_ACTIONS: dict[Action, Callable[[Reservations, Request], Outcome]] = {
    Action.REGISTER: _register,
    Action.REGISTER_AND_IGNORE: _register,
    Action.RESERVE: _reserve,
    Action.RELEASE: _release,
    Action.CLEAR: _clear,
    Action.PREEMPT: _preempt,
    Action.PREEMPT_AND_ABORT: _preempt,
    Action.REGISTER_AND_MOVE: _move,
}
