"""Running many tests: those of one unit one after the other, units side by side.

Knows how tests are spread over set-ups.  What the tests are and what they say is in ``suite``."""

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from tests.conformance import logins, suite
from tests.conformance.setups import TWO_PATHS, Variant, configuration, place
from tests.conformance.suite import Case, Outcome
from tests.support.daemon import Daemon, daemon

# Many tests wait for the clock; more at once than this gains nothing on two cores.
JOBS = 4

Heard = Callable[["Errand", Outcome | None], Any]


@attrs.frozen
class Errand:
    """One test in one variant.  Errands of one ``lane`` must not run at the same time."""

    case: Case
    variant: Variant | None  # None: a target that is not ours
    lane: str
    run: Callable[[], Outcome] = attrs.field(eq=False, repr=False)
    sleeps: bool = False


def paths(case: Case, url: str) -> Sequence[str]:
    return [url, url] if case.family in TWO_PATHS else [url]


def errands_at(url: str, cases: list[Case]) -> list[Errand]:
    """Every test against one unit somewhere."""
    return [Errand(case, None, url, partial(suite.run, case, paths(case, url))) for case in cases]


def errands(address: str, variants: Sequence[Variant], cases: list[Case]) -> list[Errand]:
    """Every test where it belongs, for each variant."""
    made = []
    for variant in variants:
        for case in cases:
            if case.family == logins.FAMILY:
                portal = logins.Portal(address, variant)
                lane = f"{variant.name} logins"
                made.append(Errand(case, variant, lane, partial(logins.run, case, portal)))
                continue
            setup = place(case.family, case.test)
            url = f"iscsi://{address}/{variant.iscsi_name(setup)}/{variant.lun}"
            deed = partial(suite.run, case, paths(case, url))
            made.append(Errand(case, variant, url, deed, setup.sleeps))
    return made


async def run_all(errands: Sequence[Errand], jobs: int, heard: Heard) -> list[tuple[Errand, Outcome]]:
    """Run them all; ``heard`` is told when one starts (None) and when it has ended."""
    lanes: dict[str, list[Errand]] = defaultdict(list)
    for errand in errands:
        lanes[errand.lane].append(errand)
    busy = trio.CapacityLimiter(jobs)
    done: list[tuple[Errand, Outcome]] = []

    async def lane(mine: list[Errand]) -> None:
        for errand in mine:
            async with contextlib.nullcontext() if errand.sleeps else busy:
                heard(errand, None)
                outcome = await trio.to_thread.run_sync(errand.run)
            done.append((errand, outcome))
            heard(errand, outcome)

    async with trio.open_nursery() as nursery:
        # The long ones first: what sleeps costs nobody anything.
        for mine in sorted(lanes.values(), key=lambda mine: not mine[0].sleeps):
            nursery.start_soon(lane, mine)
    order = {id(errand): number for number, errand in enumerate(errands)}
    return sorted(done, key=lambda pair: order[id(pair[0])])


@contextlib.contextmanager
def target(variants: tuple[Variant, ...]) -> Iterator[Daemon]:
    """A daemon with every set-up of the variants."""
    # Not /tmp, which may be memory: some tests write a whole unit several times.
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="scsipub-conformance-") as place:
        file = Path(place) / "conformance.toml"
        file.write_text(configuration(variants))
        with daemon(Path(place) / "state", "--config", str(file)) as running:
            yield running
