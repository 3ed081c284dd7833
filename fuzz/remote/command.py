"""``python -m fuzz run TARGET``, and ``replay`` and ``minimise`` at a target: thin.

TARGET is an ``iscsi://`` URL, or ``tgt``, ``istgt``, ``scsipub`` for one that is started here."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from fuzz.find import Record
from fuzz.remote.address import Address
from fuzz.remote.campaign import Campaign
from fuzz.remote.private import KINDS, private
from fuzz.remote.report import Progress, as_json, by_hand, markdown, save, tell, write_finds
from fuzz.remote.reproducer import slug
from fuzz.remote.stand import Stand
from scsipub.errors import OperatorError

BUILD = Path("build") / "fuzz"


@contextlib.contextmanager
def stands_at(target: str, patience: float, lanes: int = 1) -> Iterator[list[Stand]]:
    """One for each lane.  Raises ``OperatorError`` when there is no such target."""
    with contextlib.ExitStack() as stack:
        if target in KINDS:
            kind = KINDS[target]
            targets = [stack.enter_context(private(target, lanes))] * lanes
            if not kind.shared:
                targets[1:] = [stack.enter_context(private(target)) for _ in targets[1:]]
            stands = [Stand(None, it, patience=patience, lane=lane) for lane, it in enumerate(targets)]
        elif lanes > 1:
            raise OperatorError(
                "several lanes need a unit each", "name a target that is started for it, or leave out --lanes"
            )
        else:
            stands = [Stand(Address.parse(target), patience=patience)]
        for stand in stands:
            stack.callback(stand.close)
        yield stands


def run(
    target: str, seed: int, seconds: float, *, pdus: int, patience: float, most: int, folder: Path | None,
    json_only: bool, shrinking: float, page: Path | None = None, lanes: int = 1,
) -> int:  # fmt: skip
    """1 when something was found."""
    with stands_at(target, patience, lanes) as stands:
        campaign, stand = Campaign(stands, seed, shrinking=shrinking), stands[0]
        version = stand.private.version() if stand.private is not None else str(stand.address)
        where = folder or BUILD / f"{slug(target)}-{seed}"
        # Interrupted: somebody has seen enough, report what there is.
        with Progress(campaign, quiet=json_only) as progress, contextlib.suppress(KeyboardInterrupt):
            campaign.run(seconds, progress, pdus=pdus, most=most)
            campaign.shrink(progress.say)
        names = write_finds(campaign, where)
        it = as_json(campaign, names, version)
        save(it, where)
        if page is not None:
            page.write_text(markdown(it))
        if json_only:
            print(json.dumps(it, indent=1))
        else:
            tell(it, where)
    return 1 if campaign.finds else 0


def replay(files: list[Path], target: str, patience: float) -> int:
    """1 when one of them happens again."""
    happened = 0
    with stands_at(target, patience) as [stand]:
        for path in files:
            if path.suffix == ".py":
                again = by_hand(stand, path) if stand.private is not None else None
                print(f"{path.name}: {'happens again' if again else 'nothing found'}")
                happened += bool(again)
                continue
            campaign = Campaign([stand], 0)
            found = campaign.replay(Record.read(path).script)
            print(f"{path.name}: {found.find if found else 'nothing found'}")
            happened += found is not None
    return 1 if happened else 0


def minimise(files: list[Path], target: str, patience: float, seconds: float) -> int:
    """Writes the shorter script, a program and a pcap beside the file; 1 when one did not happen again."""
    lost = 0
    with stands_at(target, patience) as [stand]:
        for path in files:
            record = Record.read(path)
            campaign = Campaign([stand], 0, shrinking=seconds)
            found = campaign.replay(record.script)
            if found is None or found.find.kind != record.kind:
                said = found.find if found else "nothing found"
                print(f"{path.name}: {record.kind} does not happen here: {said}")
                lost += 1
                continue
            smaller = campaign.smaller(found)
            campaign.finds = [smaller]
            write_finds(campaign, path.parent)
            print(f"{path.name}: {len(record.script.steps)} steps became {len(smaller.script.steps)}")
    return 1 if lost else 0
