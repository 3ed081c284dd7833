"""Opening: from a login that succeeded to a session with its units, and the way back.

Knows trio, the units and control.  What is opened here is closed here, whatever happens in between."""

import functools
import sys
import time
from time import monotonic
from typing import TYPE_CHECKING

import attrs
import trio

from scsipub.errors import LoginRefused
from scsipub.iscsi.constants import LoginStatus
from scsipub.iscsi.login_records import Negotiated
from scsipub.iscsi.numbering import serial_add
from scsipub.iscsi.session import Session
from scsipub.iscsi.text_exchange import TargetRecord
from scsipub.scsi.attentions import NEXUS_LOSS, POWER_ON_OR_RESET
from scsipub.scsi.ports import InitiatorPort
from scsipub.target.descriptor import Arrival, TargetDescriptor
from scsipub.target.discovery import PortalPolicy, records
from scsipub.target.nexus import Nexus
from scsipub.worker.connection import Connection
from scsipub.worker.live import Live
from scsipub.worker.login import LoggedIn, Login
from scsipub.worker.output import PeerGone
from scsipub.worker.units import OpenTarget
from supervisor.channel import CallError, ChannelClosed
from supervisor.dynamic import Child

if TYPE_CHECKING:
    from scsipub.worker.main import Worker


MAX_CMD_SN = 32  # where it lies in a Login Response, §11.13


@attrs.frozen
class Visible:
    """What SendTargets may say in one session.  Fetched at login, because text exchanges do not wait."""

    names: tuple[str, ...]
    policy: PortalPolicy
    arrival: Arrival

    def __call__(self, wanted: str | None) -> list[TargetRecord]:
        return records(self.names, wanted, self.policy, self.arrival.local, self.arrival.local_port)


async def open_session(worker: "Worker", login: Login, logged_in: LoggedIn, child: Child) -> Live:
    """Units, the last answer of the login, the session: in this order, and all of it or nothing."""
    opened: OpenTarget | None = None
    nexus = None
    try:
        if logged_in.target is not None:
            opened = await _open_units(worker, logged_in.target)
            target_port = login.arrival.portal + 1
            nexus = worker.units.connect(
                opened,
                _port(logged_in.parameters, logged_in.target, target_port),
                target_port,
                NEXUS_LOSS if logged_in.target.reinstated else POWER_ON_OR_RESET,
            )
        else:
            nexus = Nexus(worker.limits, {}, _nobody)
        window = worker.limits.command_window
        response = logged_in.response
        if opened is not None and opened.throttle is not None:
            # Not all at once: what may be under way must be answered while the initiator still waits.
            window = opened.window(window)
            max_cmd_sn = serial_add(logged_in.parameters.cmd_sn, window - 1)
            response = response[:MAX_CMD_SN] + max_cmd_sn.to_bytes(4) + response[MAX_CMD_SN + 4 :]
        await login.send(response)
        return await _begin(worker, login, logged_in, opened, nexus, child, window)
    except BaseException as error:
        worker.live.pop(logged_in.session, None)
        with trio.CancelScope(shield=True):
            await _close_units(worker, logged_in.session, opened, nexus)
            if isinstance(error, LoginRefused):
                await login.refuse(error)
        raise


async def end_session(worker: "Worker", live: Live) -> None:
    """Its connection has ended, and no thread works for it any more."""
    del worker.live[live.id]
    worker.tell_rejects(live)
    nexus = live.connection.nexus
    worker.totals.add(nexus.session.counters)
    with trio.CancelScope(shield=True):
        await _close_units(worker, live.id, live.opened, nexus)


async def _open_units(worker: "Worker", target: TargetDescriptor) -> OpenTarget:
    try:
        return await trio.to_thread.run_sync(worker.units.open, target, limiter=worker.threads)
    except OSError as error:
        raise LoginRefused(LoginStatus.TARGET_ERROR, f"{target.name}: {error}") from error


def _port(parameters: Negotiated, target: TargetDescriptor, target_port: int) -> InitiatorPort:
    """Who is one initiator to reservations is the target's policy.

    Who has proved to be somebody is never the same as somebody else of that name."""
    name, principal = parameters.initiator_name, parameters.principal or ""
    if target.nexus == "initiator-port":
        return InitiatorPort(name, parameters.isid, principal, target_port)
    return InitiatorPort(name, None, principal)


async def _begin(
    worker: "Worker",
    login: Login,
    logged_in: LoggedIn,
    opened: OpenTarget | None,
    nexus: Nexus,
    child: Child,
    window: int,
) -> Live:
    parameters, arrival = logged_in.parameters, login.arrival
    target = parameters.target_name or ""
    discovery = opened is None
    nexus.session = Session(
        parameters,
        worker.limits,
        worker.out,
        None if discovery else nexus,
        stat_sn=logged_in.stat_sn,
        now=monotonic(),
        targets=await _visible(worker, logged_in, arrival),
    )
    nexus.session.window = nexus.session.window_size = window
    if opened is not None:
        opened.nexuses.append(nexus)
        opened.set_windows(worker.limits.command_window)
    live = Live(
        id=logged_in.session,
        arrival=arrival,
        target=target,
        initiator=parameters.initiator_name,
        since=int(time.time()),
        began=monotonic(),
        connection=Connection(worker, login.sock, nexus, logged_in.tail, logged_in.session),
        opened=opened,
        child=child,
    )
    worker.live[live.id] = live
    await worker.telling.news(
        "opened", {"connection": arrival.id, "session": live.id, "discovery": discovery}
    )
    if discovery:
        child.cancel_at(trio.current_time() + worker.limits.discovery_seconds)
    return live


async def _visible(worker: "Worker", logged_in: LoggedIn, arrival: Arrival) -> Visible:
    policy = worker.portals[arrival.portal]
    if arrival.tunnel:  # no address of ours leads through it
        policy = attrs.evolve(policy, target_address="omit")
    if logged_in.target is not None:
        return Visible(_only(logged_in.target.name), policy, arrival)
    try:
        answer = await worker.control.call("list_targets", {"initiator": logged_in.parameters.initiator_name})
    except (CallError, ChannelClosed) as error:
        raise PeerGone(f"control did not answer: {error}") from error
    return Visible(tuple(map(str, answer)) if isinstance(answer, list) else (), policy, arrival)


@functools.lru_cache(maxsize=1024)
def _only(name: str) -> tuple[str, ...]:
    """One tuple for all sessions of a target."""
    return (sys.intern(name),)


async def _close_units(
    worker: "Worker", session: str, opened: OpenTarget | None, nexus: Nexus | None
) -> None:
    """Close the disks if they were this session's alone, and tell control that it is over."""
    written = False
    try:
        if opened is not None and worker.units.disconnect(opened, nexus):
            written = await trio.to_thread.run_sync(worker.units.close, opened, limiter=worker.threads)
    finally:
        session_of_it = getattr(nexus, "session", None)  # there is none yet when the login ended too early
        counters = session_of_it.counters if session_of_it is not None else None
        moved = {name: getattr(counters, name, 0) for name in ("bytes_read", "bytes_written", "operations")}
        await worker.telling.news("ended", {"session": session, "written": written, **moved})


def _nobody() -> None: ...
