"""Speech: the bytes that a step means, here and now, on one connection.

Fills in the numbers that the step has left relative, then the lengths, then lets the mangler at it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from fuzz import mangle
from fuzz.content import SECTOR
from fuzz.ground import CANARY
from fuzz.hearing import Facts, Task, crc
from fuzz.steps import Step, fill


class Numbers(Protocol):
    """What a session has come to, as far as the next PDU must know it: any referee."""

    exp_cmd_sn: int
    stat_sn: int
    facts: Facts

    @property
    def tasks(self) -> Mapping[int, Task]: ...


class Proving(Protocol):
    """The login phase: answers challenges."""

    def proved(self, text: bytes) -> bytes: ...


class Speaker(Protocol):
    """One connection, in process or far away.  ``referee`` is None until its session has begun."""

    who: int
    apart: bool

    @property
    def referee(self) -> Numbers | None: ...

    @property
    def entry(self) -> Proving: ...


class Stage(Protocol):
    """Where a liar plays: the world, or a target far away."""

    @property
    def connections(self) -> Sequence[Speaker | None]: ...


def resolve(connection: Speaker, step: Step) -> bytes:
    """The bytes that this step means here and now."""
    referee = connection.referee
    data = step.data or _fill(connection, step.seed, step.length)
    if referee is None:
        data = connection.entry.proved(data)
    if len(step.bhs) != 48:
        return mangle.wire(step.bhs + data, step.mangles)
    header = bytearray(step.bhs)
    if referee is not None:
        if step.answers:
            data = _answer(connection, referee, header, step)
        if step.number is not None:
            header[24:28] = ((referee.exp_cmd_sn + step.number) & 0xFFFFFFFF).to_bytes(4)
        header[28:32] = referee.stat_sn.to_bytes(4)
    header[4] = len(step.ahs) // 4
    header[5:8] = len(data).to_bytes(3)
    if step.mangles:
        mangle.numbers(header, step.mangles)
    digests = referee.facts if referee is not None else None
    parts = [bytes(header), step.ahs]
    if digests is not None and digests.header_digest:
        parts.append(crc(parts[0] + step.ahs).to_bytes(4, "little"))
    if data:
        padded = data + bytes(-len(data) % 4)
        parts.append(padded)
        if digests is not None and digests.data_digest:
            parts.append(crc(padded).to_bytes(4, "little"))
    whole = b"".join(parts)
    return mangle.wire(whole, step.mangles) if step.mangles else whole


def _fill(connection: Speaker, seed: int, length: int) -> bytes:
    data = fill(seed, length) if length else b""
    if connection.who and connection.apart:
        return b"".join(CANARY + data[at + 16 : at + SECTOR] for at in range(0, length, SECTOR))[:length]
    return data


def _answer(connection: Speaker, referee: Numbers, header: bytearray, step: Step) -> bytes:
    """Fill in a Data-Out as its task wants it; at most ``length`` bytes."""
    task = referee.tasks.get(int.from_bytes(header[16:20]))
    if task is None or not (task.unsolicited or task.ttt is not None):
        return _fill(connection, step.seed, min(step.length, SECTOR))
    left = task.burst_end - task.received
    size = max(0, min(left, step.length, referee.facts.max_send))
    header[1] = 0x80 if size == left else 0
    header[20:24] = (0xFFFFFFFF if task.ttt is None else task.ttt).to_bytes(4)
    header[36:40] = task.next_data_sn.to_bytes(4)
    header[40:44] = task.received.to_bytes(4)
    return _fill(connection, step.seed, size)
