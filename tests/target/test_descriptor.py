"""Descriptors travel between our own processes as JSON, and arrive as they were."""

import json

from scsipub.target.descriptor import AuthDescriptor, LunDescriptor, TargetDescriptor, Verdict

LUN = LunDescriptor(lun=1, uuid="00" * 16, overlay="d-abc-1", size=1 << 26, budget=1 << 20)
TARGET = TargetDescriptor(
    name="iqn.2025-01.pub.scsipub:blank", session="abc", luns=(LUN,), shared=True,
    auth=AuthDescriptor(required=True, algorithm_floor=7, mutual=True),
)  # fmt: skip


def test_a_verdict_arrives_as_it_was_sent():
    for verdict in (
        Verdict(target=TARGET), Verdict(refuse=0x0203, why="no such target"),
        Verdict(redirect="[2001:db8::1]:3260"), Verdict(hand_on=2),
    ):  # fmt: skip
        assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
