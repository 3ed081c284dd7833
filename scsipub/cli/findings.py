"""What a check-up can say.  Knows nobody."""

import enum

import attrs


class Verdict(enum.StrEnum):
    OK = "ok"
    NOTE = "note"  # works, but somebody should know
    BAD = "bad"  # will not work


@attrs.frozen
class Finding:
    """One thing looked at: what about it, and what to do."""

    verdict: Verdict
    subject: str
    said: str
    do: str = ""


def ok(subject: str, said: str) -> Finding:
    return Finding(Verdict.OK, subject, said)


def note(subject: str, said: str, do: str) -> Finding:
    return Finding(Verdict.NOTE, subject, said, do)


def bad(subject: str, said: str, do: str) -> Finding:
    return Finding(Verdict.BAD, subject, said, do)
