"""The worker process: takes sockets from control, serves each in a scope that may crash alone.

Started as ``python -m scsipub worker --channel-fd N``.  Knows trio.  Asks control for everything it needs to
know, and tells it what it did; holds no secret and writes no metadata."""

import argparse
import contextlib
import gc
import heapq
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import attrs
import cattrs
import trio

from scsipub.certificates import Files, Pair
from scsipub.errors import CheckCondition, FramingLost, LoginRefused, PeerError
from scsipub.iscsi.answers import Counters
from scsipub.iscsi.outbox import Outbox
from scsipub.limits import Limits
from scsipub.scsi.plan import Background
from scsipub.target.backing import Backing
from scsipub.target.descriptor import Arrival, LunDescriptor, Rates
from scsipub.target.discovery import PortalPolicy
from scsipub.target.throttle import Throttle
from scsipub.worker import changing
from scsipub.worker.blackbox import BlackBox
from scsipub.worker.blocking import beside_sessions, run_background
from scsipub.worker.borrowing import Borrowed
from scsipub.worker.certificates import Certificates
from scsipub.worker.confined import lock_in
from scsipub.worker.latency import Latency
from scsipub.worker.live import Live
from scsipub.worker.login import Login
from scsipub.worker.opening import end_session, open_session
from scsipub.worker.output import PeerGone
from scsipub.worker.proof import client_certificate_untrusted
from scsipub.worker.relay import relay
from scsipub.worker.releasing import release
from scsipub.worker.slices import Slices
from scsipub.worker.telling import Telling
from scsipub.worker.tls import HandshakeFailed, TlsSocket, handshake
from scsipub.worker.troubling import call_later, trouble, trouble_disk
from scsipub.worker.units import Units
from scsipub.worker.watch import watch
from supervisor.channel import CallError, Channel, ChannelClosed, Handler
from supervisor.child import child_channel
from supervisor.dynamic import DynamicSupervisor

log = logging.getLogger("scsipub.worker")

# How long an initiator may take to answer when another claims to be it.
PROBE_SECONDS = 1.5
RECEIVE_BYTES = 1024 * 1024  # the shared buffer: one recv takes what a busy socket holds


class Worker:
    """Everything the sessions of one process share."""

    control: Channel
    limits: Limits
    portals: list[PortalPolicy]
    units: Units
    threads: trio.CapacityLimiter
    telling: Telling
    slices: Slices

    def __init__(self) -> None:
        self.out = Outbox()
        self.serving = BlackBox()
        self.buffer = memoryview(bytearray(RECEIVE_BYTES))
        self.sessions = DynamicSupervisor(name="sessions")
        self.live: dict[str, Live] = {}
        self.connections = 0  # all of them, logged in or not
        self.hot_connections = 0
        self.spinners = 1
        self.latency = Latency()
        self.totals = Counters()  # of the sessions that have ended
        self.random: Callable[[int], bytes] = os.urandom
        self.nursery: trio.Nursery | None = None
        self.certificates: Certificates | None = None

    def configure(self, control: Channel, settings: dict[str, Any]) -> None:
        """What control wants to be so.  Comes before the first connection."""
        self.control = control
        self.limits = cattrs.structure(settings["limits"], Limits)
        self.portals = [PortalPolicy.from_json(p) for p in settings["portals"]]
        soon = trio.lowlevel.current_trio_token().run_sync_soon
        self.units = Units(
            settings["overlays_dir"],
            self.limits,
            settings["incarnation"],
            self.keep_reservations,
            target_ports=len(self.portals),
            alarm=self.start_releasing,
            folder=lambda target: Borrowed(control, target, soon),
        )
        self.threads = trio.CapacityLimiter(self.limits.worker_threads)
        self.telling = Telling(control, self.limits)
        self.slices = Slices(self.limits, RECEIVE_BYTES)
        tls = settings["tls"]
        if tls is not None:
            self.certificates = Certificates(
                Files(*map(Path, tls["files"])),
                tls["hosts"],
                cooldown=self.limits.tls_reload_seconds,
                tell=self._tell_of_certificate,
            )
            self.certificates.current(monotonic())  # now, while the files are as control found them
            if tls["pair"] is not None:
                self.certificates.adopt(Pair.from_json(tls["pair"]), monotonic())

    def handlers(self) -> dict[str, Handler]:
        """What control may call."""
        return {
            "take": self.take,
            "sessions": self.list_sessions,
            "kick": self.kick,
            "still_there": self.still_there,
            "statistics": self.statistics,
            "release": self.release,
            "rates": self.set_rates,
            "grow_unit": self.grow_unit,
            "add_unit": self.add_unit,
            "remove_unit": self.remove_unit,
            "dismiss": self.dismiss,
            "faults": self.set_faults,
            "disk_faults": self.set_disk_faults,
            "certificate": self.certificate,
        }

    # -- what control says -------------------------------------------------------------------------------

    def take(self, params: Any, fds: list[int]) -> None:
        """A new connection, accepted by control or handed on by another worker."""
        params["source"], params["local"] = sys.intern(params["source"]), sys.intern(params["local"])
        arrival = Arrival.from_json(params)
        sock = socket.socket(fileno=fds[0])
        sock.setblocking(False)
        self.connections += 1
        name = arrival.id
        if name in self.sessions.children:  # handed on and come back, and what we had of it is not over yet
            name = f"{name} {monotonic()}"
        self.sessions.start_child(name, self.serve, name, arrival, sock)

    def take_lost(self, params: Any) -> None:
        """It was for us, but we had no descriptor left for it.  Who is served notices nothing; control must
        know, or it would count the connection for ever."""
        arrival = Arrival.from_json(params)
        self.telling.complain("no descriptor left", arrival, "the worker may open no more files")
        self.control.try_cast("closed", {"connection": arrival.id})

    def certificate(self, params: Any, fds: list[int]) -> None:
        """Handshakes are about to come, and this is what they are to be shown."""
        if self.certificates is not None:
            self.certificates.adopt(Pair.from_json(params), monotonic())

    def list_sessions(self, params: Any, fds: list[int]) -> Any:
        """All of them; with ``most``: so many, the busiest."""
        now, most = monotonic(), params.get("most")
        found: Iterable[Live] = self.live.values()
        if most is not None and most < len(self.live):
            found = heapq.nlargest(most, found, key=lambda live: live.iops(now))
        return [live.to_json(now) for live in found]

    def kick(self, params: Any, fds: list[int]) -> Any:
        live = self.live.get(params["id"])
        if live is not None:
            live.child.cancel()
        return live is not None

    async def still_there(self, params: Any, fds: list[int]) -> Any:
        """Is this session's peer still connected?  An unread end of stream says no.

        ``probe``: ask it, if it knows pings; who does not answer is closed, and counts as gone."""
        live = self.live.get(params["id"])
        if live is None:
            return False
        try:
            if live.connection.sock.recv(1, socket.MSG_PEEK) == b"":
                return False
        except BlockingIOError:
            pass
        except OSError:
            return False
        session = live.connection.nexus.session
        if not params["probe"] or not session.may_ping:
            return True
        before = session.last_heard
        live.connection.nexus.post(partial(session.ping, monotonic()))
        with trio.move_on_after(PROBE_SECONDS):
            while session.last_heard == before:
                await trio.sleep(0.02)
            return True
        live.child.cancel()
        return False

    async def release(self, params: Any, fds: list[int]) -> Any:
        """Let go of a shared target.  Control has ended its sessions, and lets no new one begin."""
        return await trio.to_thread.run_sync(self.units.release, params["target"], limiter=self.threads)

    async def grow_unit(self, params: Any, fds: list[int]) -> Any:
        return await _said(changing.grow(self, params["target"], LunDescriptor.from_json(params["lun"])))

    async def add_unit(self, params: Any, fds: list[int]) -> Any:
        return await _said(changing.add(self, params["target"], LunDescriptor.from_json(params["lun"])))

    async def remove_unit(self, params: Any, fds: list[int]) -> Any:
        return await _said(changing.remove(self, params["target"], params["lun"]))

    def dismiss(self, params: Any, fds: list[int]) -> Any:
        """Ask a session to log out within ``seconds``; False when it would not understand."""
        live = self.live.get(params["id"])
        if live is None or not live.connection.nexus.session.may_ping:
            return False
        live.connection.nexus.post(partial(live.connection.nexus.session.ask_for_logout, params["seconds"]))
        return True

    def set_rates(self, params: Any, fds: list[int]) -> None:
        """How fast a shared target may go, from now on."""
        self.units.set_rates(params["target"], Rates.from_json(params["rates"]), monotonic())

    def statistics(self, params: Any, fds: list[int]) -> Any:
        counters = [self.totals] + [live.connection.nexus.session.counters for live in self.live.values()]
        return {
            "sessions": len(self.live),
            "connections": self.connections,
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "bytes_read": sum(c.bytes_read for c in counters),
            "bytes_written": sum(c.bytes_written for c in counters),
            "operations": sum(c.operations for c in counters),
            "times": self.latency.counts,
        }

    # -- one connection ----------------------------------------------------------------------------------

    async def serve(self, name: str, arrival: Arrival, sock: socket.socket) -> None:
        """From accept to close.  Whatever escapes is counted and told once; nobody else notices.

        ``name`` is what the child is called that this runs in.  Ten thousand of these frames lie in memory:
        nothing of a login may stay here."""
        handed_on = False
        who: Login | Live
        who = Login(self, arrival, sock)
        try:
            live = await self._log_in(who, name)
            if live is not None:
                who = live
                try:
                    await live.connection.run()
                finally:
                    await end_session(self, live)
            else:
                handed_on = True
        except LoginRefused as refused:
            self.telling.complain(
                "login refused", arrival, refused.why, status=refused.status, initiator=who.initiator
            )
        except FramingLost as lost:
            self.telling.complain(lost.kind, arrival, lost.why, initiator=who.initiator)
        except PeerError as error:
            self.telling.complain("malformed", arrival, str(error), initiator=who.initiator)
        except HandshakeFailed as failed:
            self.telling.complain("tls handshake", arrival, str(failed))
        except PeerGone:
            pass
        except Exception as error:
            self.telling.crashed(arrival, error)
        finally:
            self.connections -= 1
            who.close()
            if not handed_on:
                await self.telling.news("closed", {"connection": arrival.id})

    async def _log_in(self, login: Login, name: str) -> Live | None:
        """From the first byte to a session; None when another worker has taken over."""
        arrival = login.arrival
        left = arrival.accepted + self.limits.login_seconds - monotonic()
        with trio.move_on_after(max(0.0, left)) as deadline:
            if arrival.tls and not arrival.relayed and isinstance(login.sock, socket.socket):
                login.sock = await self._secure(arrival, login.sock)
                if login.sock.certificate:
                    proved = client_certificate_untrusted(login.sock.certificate)
                    login.arrival = attrs.evolve(arrival, certificate=proved)
                    login.sock.certificate = b""
            logged_in = await login.run()
        if deadline.cancelled_caught:
            late = f"not logged in after {self.limits.login_seconds:g} s"
            self.telling.complain("login timeout", arrival, late, initiator=login.initiator)
            raise PeerGone(late)
        if logged_in is not None:
            return await open_session(self, login, logged_in, self.sessions.children[name])
        if login.relay_to is not None:
            await relay(login.sock, login.relay_to)
        return None

    def _tell_of_certificate(self, what: str, why: str) -> None:
        self.control.try_cast("certificate", {"what": what, "why": why})

    async def _secure(self, arrival: Arrival, sock: socket.socket) -> TlsSocket:
        """The TLS handshake, within its own deadline, which like that of the login counts from accept."""
        context = self.certificates.current(monotonic()) if self.certificates is not None else None
        if context is None:
            raise HandshakeFailed("we have no usable certificate")
        seconds = self.limits.tls_handshake_seconds
        with trio.move_on_after(max(0.0, arrival.accepted + seconds - monotonic())):
            return await handshake(sock, context)
        raise FramingLost(f"not done after {seconds:g} s", "TLS handshake timeout")

    def tell_rejects(self, live: Live) -> None:
        """A Reject leaves the session alive; control counts them by reason all the same."""
        counters = live.connection.nexus.session.counters
        for reason, count in counters.take_reasons().items():
            self.telling.complain(
                f"reject 0x{reason:02x}",
                live.arrival,
                counters.last_error,
                initiator=live.initiator,
                count=count,
            )

    def keep_reservations(
        self, target: str, lun: int, state: dict[str, Any], done: Callable[[str | None], None]
    ) -> None:
        """Have control keep the reservations of a shared unit; ``done`` hears whether it does."""

        async def keep() -> None:
            why = None
            try:
                await self.control.call("keep_reservations", {"target": target, "lun": lun, "state": state})
            except (CallError, ChannelClosed) as error:
                why = str(error)
            beside_sessions(done, why)

        if self.nursery is not None:
            self.nursery.start_soon(keep)

    def start_background(
        self, background: Background, backing: Backing, over: Callable[[CheckCondition | None], None]
    ) -> None:
        """Work that outlives its command, and its session too."""
        if self.nursery is not None:
            self.nursery.start_soon(run_background, self, background, backing, over)

    def set_faults(self, params: Any, fds: list[int]) -> Any:
        """Trouble for one session.  None: it is not here."""
        live = self.live.get(params["id"])
        return None if live is None else trouble(live, params["rules"], params["seed"], self.later)

    def set_disk_faults(self, params: Any, fds: list[int]) -> Any:
        """Trouble for the disk of one of its units.  None: the session is not here."""
        live, lun, rules = self.live.get(params["id"]), params["lun"], params["rules"]
        if live is None:
            return None
        return trouble_disk(self.live.values(), self.limits, live, lun, rules, params["seed"])

    def later(self, seconds: float, deed: Callable[[float], None]) -> None:
        """Call it then, with the time."""
        if self.nursery is not None:
            self.nursery.start_soon(call_later, seconds, deed)

    def start_releasing(self, throttle: Throttle) -> None:
        """Commands wait for their share."""
        if self.nursery is not None:
            self.nursery.start_soon(release, throttle)

    # -- the end -----------------------------------------------------------------------------------------

    async def drain(self, seconds: float) -> None:
        """Ask every initiator to log out, wait a little, then close what is left."""
        for live in list(self.live.values()):
            session = live.connection.nexus.session
            if session.may_ping:  # those who know NOPs know asynchronous messages as well
                live.connection.nexus.post(partial(session.ask_for_logout, max(1, int(seconds))))
        with trio.move_on_after(max(0.0, seconds - 1.0)):
            while any(live.connection.nexus.session.may_ping for live in self.live.values()):
                await trio.sleep(0.05)
        for child in list(self.sessions.children.values()):
            child.cancel()
        while self.sessions.children:
            await trio.sleep(0.01)


async def _said(change: Awaitable[bool]) -> bool:
    """An error of the disk in words, for control."""
    try:
        return await change
    except OSError as error:
        raise CallError("disk", str(error.strerror or error)) from error


async def serve(channel_fd: int) -> None:
    """The life of the process."""
    worker = Worker()
    async with child_channel(channel_fd, worker.handlers()) as control:
        settings = await control.call("configure", {}, fds=[worker.serving.fd])
        if not isinstance(settings, dict):
            raise SystemExit("control sent no settings")
        worker.configure(control, settings)
        control.when_lost["take"] = worker.take_lost
        async with trio.open_nursery() as nursery:
            worker.nursery = nursery
            await nursery.start(worker.sessions.run)
            nursery.start_soon(watch, worker)
            await control.ready({"pid": os.getpid()})
            await control.draining.wait()
            with contextlib.suppress(ChannelClosed):
                await worker.drain(control.drain_seconds or worker.limits.drain_seconds)
            # What tenants have written is on the medium before we say that we have ended.
            for wrong in await trio.to_thread.run_sync(worker.units.release_all):
                log.error("not on the medium: %s", wrong)
            nursery.cancel_scope.cancel()


def main(arguments: list[str]) -> None:
    """``--channel-fd N``: what control passed; ``--reads`` and ``--writes``: what we may reach."""
    parser = argparse.ArgumentParser(prog="scsipub worker")
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--reads", action="append", default=[])
    parser.add_argument("--writes", action="append", default=[])
    told = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    lock_in(told.reads, told.writes)
    # Thousands of sessions are long-lived: look through all of them rarely, and through the new ones in small
    # portions, because each look stops the loop.
    gc.set_threshold(2_000, 10, 100)
    trio.run(serve, told.channel_fd)
