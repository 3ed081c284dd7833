"""What the store says when it cannot do what it was asked.

Knows nobody.  ``StoreUnavailable`` is about the database, the others about the request; each has words for
whoever asked, and none of them quotes a parameter: parameters may be secrets."""

import attrs


class StoreError(Exception):
    """Never raised directly."""


@attrs.frozen(eq=False)
class StoreUnavailable(StoreError):
    """The database does not answer; try again later.

    ``unknown``: it went away while a change was being committed, so the change may have happened.  Who must
    know reads it again."""

    why: str
    unknown: bool = False

    def __str__(self) -> str:
        return f"the database does not answer: {self.why}"


@attrs.frozen(eq=False)
class NotFound(StoreError):
    """There is no such row, or it is somebody else's, which comes to the same."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"there is no {self.kind} {self.id}"


@attrs.frozen(eq=False)
class Conflict(StoreError):
    """What is there already stands in the way."""

    why: str

    def __str__(self) -> str:
        return self.why


@attrs.frozen(eq=False)
class Exhausted(StoreError):
    """The tier allows no more."""

    why: str

    def __str__(self) -> str:
        return self.why


@attrs.frozen(eq=False)
class SecretUnreadable(StoreError):
    """A sealed secret does not open: another key, or another row's."""

    why: str

    def __str__(self) -> str:
        return self.why


@attrs.frozen(eq=False)
class Invalid(StoreError):
    """What was asked makes no sense, or is more than the tier allows.  ``field`` says where."""

    why: str
    field: str = ""

    def __str__(self) -> str:
        return self.why
