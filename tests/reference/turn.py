"""The slow twin of scsipub/target/turn.py: every PDU by the long way, one after the other."""

from scsipub.target.nexus import Nexus


def plain_turn(nexus: Nexus, view: memoryview, at: int, end: int, now: float) -> int:
    session = nexus.session
    nexus.now = now
    while not session.closing:
        taken = session.receive(view, at, end, now)
        if not taken:
            break
        at += taken
        nexus.streams.pump(0)
    return at
