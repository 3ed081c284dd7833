"""How rules are written and how their chance is taken: what rules for commands and rules for disks share.

Pure.  A rule is a frozen class of attrs whose first field is ``fault``; the converters here read what people
and JSON write for the other fields, and raise ValueError with a reason."""

import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import attrs

from scsipub.errors import OperatorError

MOST_RULES = 32  # of one session or disk
LAST = (1 << 64) - 1  # of a range without end


def span(value: Any) -> tuple[int, int] | None:
    """``100``, ``100-199``, ``100-`` or a pair; both ends belong to it."""
    if value is None:
        return None
    if isinstance(value, str):
        found = re.fullmatch(r"(\d{1,20})(?:(-)(\d{0,20}))?", value.strip())
        if not found:
            raise ValueError(f"{value!r} is no range: write 100, 100-199 or 100-")
        first = int(found[1])
        last = first if not found[2] else int(found[3]) if found[3] else LAST
    elif isinstance(value, int):
        first = last = value
    else:
        first, last = (int(end) for end in value)
    if not 0 <= first <= last <= LAST:
        raise ValueError(f"{first} to {last} is no range")
    return first, last


def _between(value: Any, low: float, high: float) -> float:
    number = float(value)
    if not low <= number <= high or math.isnan(number):
        raise ValueError(f"{value} is not between {low:g} and {high:g}")
    return number


def chance(value: Any) -> float:
    """From 0 to 1."""
    return _between(value, 0, 1)


def delay(value: Any) -> float:
    """Seconds, at most an hour."""
    return _between(value, 0, 3600)


def moment(value: Any) -> float:
    """Seconds, without end."""
    return _between(value, 0, math.inf)


def count(value: Any) -> int:
    """0 or more."""
    number = int(value)
    if number < 0 or number != float(value):
        raise ValueError(f"{value} is no count")
    return number


def count_or_none(value: Any) -> int | None:
    """The same, or nothing said."""
    return None if value is None else count(value)


class Written:
    """A rule that is written as words, ``FAULT NAME=VALUE …``, or as a JSON object of the same names."""

    FAULTS: ClassVar[Sequence[str]]

    @classmethod
    def _names(cls) -> list[str]:
        return list(attrs.fields_dict(cls))  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> Self:
        """From words.  Raises OperatorError."""
        fault, *words = text.split() or [""]
        pairs = [word.partition("=") for word in words]
        wrong = [word for word, (_, equals, _) in zip(words, pairs, strict=True) if not equals]
        if wrong:
            raise OperatorError(f"{wrong[0]!r} is no NAME=VALUE.", f"Names are {', '.join(cls._names())}.")
        return cls.from_json({"fault": fault} | {name: value for name, _, value in pairs})

    @classmethod
    def from_json(cls, data: object) -> Self:
        """From an object.  Raises OperatorError, which says what is wrong with it."""
        if not isinstance(data, Mapping):
            raise OperatorError("A rule is an object.", f'Such as {{"fault": "{cls.FAULTS[0]}", "p": 0.1}}.')
        if data.get("fault") not in tuple(cls.FAULTS):
            raise OperatorError(f"{data.get('fault')!r} is no fault.", f"Faults are {', '.join(cls.FAULTS)}.")
        unknown = [name for name in data if name not in cls._names()]
        if unknown:
            raise OperatorError(f"A rule has no {unknown[0]!r}.", f"It may have {', '.join(cls._names())}.")
        try:
            return cls(**data)
        except (TypeError, ValueError, OverflowError) as error:
            raise OperatorError(f"The rule cannot be read: {error}.") from None

    def to_json(self) -> dict[str, Any]:
        """Only what differs from the default."""
        said: dict[str, Any] = {}
        for name, field in attrs.fields_dict(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            if value != field.default:
                said[name] = sorted(value) if isinstance(value, frozenset) else value
        return said


class Dice:
    """Chance, skip and times of several rules.

    One source of chance for each rule: what the others do must not move its dice."""

    def __init__(self, rules: Iterable[Any], seed: int) -> None:
        self.rules = tuple(rules)
        if len(self.rules) > MOST_RULES:
            raise OperatorError(f"{len(self.rules)} rules are too many.", f"At most {MOST_RULES}.")
        self._fitted = [0] * len(self.rules)
        self._times = [0] * len(self.rules)
        self._chance = [random.Random(f"{seed} {place}") for place in range(len(self.rules))]

    def roll(self, fits: Sequence[bool]) -> int | None:
        """Which rule strikes, of those that fit: the first whose dice say so."""
        struck: int | None = None
        for place, rule in enumerate(self.rules):
            if not fits[place] or (rule.times and self._times[place] >= rule.times):
                continue
            self._fitted[place] += 1
            if self._fitted[place] > rule.skip and self._chance[place].random() < rule.p and struck is None:
                struck = place
        if struck is not None:
            self._times[struck] += 1
        return struck
