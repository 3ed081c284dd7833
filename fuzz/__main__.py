"""``python -m fuzz [--seconds 120] [--seed N] [--json]`` and ``python -m fuzz mutants``.

Ends with 1 when something was found.  A find is written to ``fuzz/finds/`` unless ``--no-write``."""

import argparse
import contextlib
import random
import sys
from pathlib import Path

from fuzz import mutants
from fuzz.find import FINDS, Record
from fuzz.report import Progress, tell
from fuzz.runner import Found, Tally, ground, replay, run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="An initiator that lies.")
    parser.add_argument("what", nargs="?", choices=("run", "mutants", "replay"), default="run")
    parser.add_argument("files", nargs="*", type=Path, help="of replay: finds; of mutants: patches")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long (default 120)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run; scripts are numbered from it")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--stop-at-first", action="store_true", help="end with the first find")
    parser.add_argument("--no-write", action="store_true", help="do not write what was found to fuzz/finds/")
    options = parser.parse_args(arguments)
    if options.what == "mutants":
        return mutants.main(options.files, options.seconds, as_json=options.json)
    if options.what == "replay":
        return _replay(options.files)
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    most = 1 if options.stop_at_first else 10
    tally, finds = Tally(), list[Found]()
    # Interrupted: somebody has seen enough, report what there is.
    with Progress(options.seconds, quiet=options.json) as progress, contextlib.suppress(KeyboardInterrupt):
        run(seed, options.seconds, progress, tally=tally, finds=finds, most=most)
    tell(tally, finds, seed, as_text=not options.json)
    if not options.no_write:
        for found in finds:
            if found.script.steps:  # memory and images are everybody's: no script leads there
                _write(found, seed)
    return 1 if finds else 0


def _write(found: Found, seed: int) -> None:
    name = found.find.kind.lower().replace(" ", "-")
    path = FINDS / f"{name}-{seed}.json"
    Record(found.script, found.find.kind, found.find.what).write(path)
    print(f"written to {path}", file=sys.stderr)


def _replay(files: list[Path]) -> int:
    finds = 0
    with ground() as on:
        for path in files or sorted(FINDS.glob("*.json")):
            found = replay(on, Record.read(path).script)
            print(f"{path.name}: {found.find if found else 'nothing found'}")
            finds += found is not None
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
