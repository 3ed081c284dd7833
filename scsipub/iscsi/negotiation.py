"""What two sides have agreed so far: the keys offered in one login, and the values in force.

Source: RFC 7143 §6.2, §6.3 (nothing is negotiated twice), §13.14 (FirstBurstLength within MaxBurstLength).
Knows no stages and no PDUs.  Answers what is asked and never volunteers."""

from collections.abc import Mapping, Sequence

import attrs

from scsipub.errors import PduRejected
from scsipub.iscsi.constants import RejectReason
from scsipub.iscsi.keys import DEFAULTS, IRRELEVANT, KEYS, Combine, Value, negotiate_untrusted, wanted
from scsipub.iscsi.text import Pair
from scsipub.limits import Limits


@attrs.define
class Negotiation:
    """Living record of one negotiation."""

    _wanted: Mapping[str, Value]
    discovery: bool = False
    values: dict[str, Value] = attrs.field(factory=lambda: dict(DEFAULTS))
    _settled: set[str] = attrs.field(factory=set)

    @classmethod
    def begin(cls, limits: Limits) -> "Negotiation":
        """Everything at its default, nothing offered yet."""
        return cls(wanted(limits))

    def answer_untrusted(self, pairs: Sequence[Pair]) -> list[Pair]:
        """Our answers to these offers, in their order.  ``PduRejected``: the negotiation has failed."""
        answers: dict[int, Pair] = {}
        # FirstBurstLength waits for MaxBurstLength, in whichever order they came: it may not be the larger.
        order = sorted(range(len(pairs)), key=lambda i: pairs[i][0] == "FirstBurstLength")
        for i in order:
            key, text = pairs[i]
            answer = self._answer(key, text)
            if answer is not None:
                answers[i] = (key, answer)
        # A smaller burst takes the first burst with it, also one that nobody offered.
        bursts = int(self.values["FirstBurstLength"]), int(self.values["MaxBurstLength"])
        self.values["FirstBurstLength"] = min(bursts)
        return [answers[i] for i in sorted(answers)]

    def _answer(self, key: str, text: str) -> str | None:
        row = KEYS.get(key)
        if row is not None and row.combine is not Combine.DECLARED:
            if key in self._settled:
                raise PduRejected(RejectReason.PROTOCOL_ERROR, f"{key} negotiated twice")
            self._settled.add(key)
        if row is not None and self.discovery and row.irrelevant_in_discovery:
            return IRRELEVANT
        ours = self._wanted.get(key)
        if key == "FirstBurstLength" and ours is not None:
            ours = min(int(ours), int(self.values["MaxBurstLength"]))
        answer, value = negotiate_untrusted(key, text, ours)
        if value is not None:
            self.values[key] = value
        return answer
