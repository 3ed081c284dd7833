"""Finds: what the target did that it must never do, and the few steps that make it do so again.

A find is a JSON file in ``fuzz/finds/``; ``tests/fuzz/test_finds.py`` replays them all."""

import json
from pathlib import Path

import attrs

from fuzz.steps import Script

FINDS = Path(__file__).parent / "finds"


class Find(Exception):
    """The target broke a rule.  ``kind`` names the rule, so that shrinking keeps to the same one."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(f"{kind}: {what}")
        self.kind = kind
        self.what = what


class Hang(BaseException):
    """One step took seconds.  Not an Exception, so that nothing on the way swallows it."""


@attrs.frozen
class Record:
    """One file of ``finds/``.  ``fixed`` says in a sentence what was wrong; empty while it still is."""

    script: Script
    kind: str
    what: str
    fixed: str = ""

    def write(self, path: Path) -> None:
        head = {"kind": self.kind, "what": self.what, "fixed": self.fixed}
        path.write_text(json.dumps(head | self.script.to_json(), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Record":
        it = json.loads(path.read_text())
        return cls(Script.from_json(it), it["kind"], it["what"], it["fixed"])
