"""What a case leaves behind: what was sent, and what shows that something was wrong.  Pure."""

import attrs

from fuzz.steps import Step


@attrs.frozen
class Sent:
    """What one step became on the wire, for the reproducer."""

    who: int
    kind: str
    wire: bytes = b""
    step: Step = attrs.field(factory=Step)
    in_session: bool = False


@attrs.frozen
class Evidence:
    """What a run has shown: how it can be seen again."""

    who: int = 0
    answer: bytes = b""  # header and the first bytes of the data
    silent: tuple[int, int] | None = None  # (who, tag) of an answer that did not come
