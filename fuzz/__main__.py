"""``python -m fuzz``: ``run [TARGET]``, ``replay``, ``minimise``, ``mutants``, ``coverage``.

Ends with 1 when something was found, with 2 when it could not run."""

import argparse
import contextlib
import random
import signal
import sys
from pathlib import Path

from fuzz import mutants
from fuzz.find import FINDS, Record
from fuzz.remote import command
from fuzz.remote.private import KINDS
from fuzz.report import Progress, tell
from fuzz.runner import Found, Tally, ground, replay, run, shrink
from scsipub.errors import OperatorError

COMMANDS = ("run", "replay", "minimise", "mutants", "coverage")
TARGET = "iscsi://[user%%password@]host[:port]/iqn/lun, or tgt, istgt, scsipub: one that is started for it"


def main(arguments: list[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else arguments
    if not words or (words[0] not in COMMANDS and words[0] not in ("-h", "--help")):
        words = ["run", *words]
    options = _parser().parse_args(words)
    # Asked to end, it reports what there is, as after Ctrl-C, and leaves no target of its own running.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.deed(options))
    except OperatorError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="An initiator that lies.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, deed: object, help: str) -> argparse.ArgumentParser:
        it = commands.add_parser(name, help=help, description=help)
        it.set_defaults(deed=deed)
        return it

    it = add("run", _run, "talk to our core in this process, or to a target by URL")
    it.add_argument("target", nargs="?", default="", help=TARGET)
    it.add_argument("--seconds", type=float, default=120.0, help="how long (default 120)")
    it.add_argument("--minutes", type=float, default=0.0, help="the same in minutes")
    it.add_argument("--pdus", type=int, default=0, help="end when so many PDUs have been said")
    it.add_argument("--seed", type=int, default=None, help="repeat a run; scripts are numbered from it")
    it.add_argument("--json", action="store_true", help="the report as JSON")
    it.add_argument("--report", type=Path, help="the report as a page in Markdown, too")
    it.add_argument("--stop-at-first", action="store_true", help="end with the first find")
    it.add_argument("--no-write", action="store_true", help="do not write what was found to fuzz/finds/")
    it.add_argument("--out", type=Path, help="of a target: where finds go (default build/fuzz/…)")
    it.add_argument(
        "--patience", type=float, default=3.0, help="of a target: seconds for an answer (default 3)"
    )
    it.add_argument(
        "--lanes",
        type=int,
        default=1,
        help="of a target that is started here: so many cases at once (default 1)",
    )
    it.add_argument("--shrinking", type=float, default=15.0, help="of a target: seconds for each find")
    it = add("replay", _replay, "play finds again")
    it.add_argument("files", nargs="*", type=Path)
    it.add_argument("--target", default="", help=TARGET)
    it.add_argument("--patience", type=float, default=3.0)
    it = add("minimise", _minimise, "make finds shorter")
    it.add_argument("files", nargs="+", type=Path)
    it.add_argument("--target", default="", help=TARGET)
    it.add_argument("--patience", type=float, default=3.0)
    it.add_argument("--seconds", type=float, default=60.0, help="for each (default 60)")
    it = add("mutants", _mutants, "are the bugs found that we put in?")
    it.add_argument("files", nargs="*", type=Path)
    it.add_argument("--seconds", type=float, default=120.0, help="for each (default 120)")
    it.add_argument("--seed", type=int, default=1)
    it.add_argument("--json", action="store_true")
    it = add("coverage", _coverage, "let atheris guide what is said by the code it reaches")
    it.add_argument("what", nargs="?", default="session", help="session, login, text, pdus, cdbs")
    it.add_argument("--seconds", type=float, default=120.0, help="how long (default 120)")
    it.add_argument("--corpus", type=Path, help="where inputs are kept (default build/fuzz/corpus-WHAT)")
    return parser


def _run(options: argparse.Namespace) -> int:
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    seconds = options.minutes * 60 or (options.seconds if not options.pdus else 86400.0)
    most = 1 if options.stop_at_first else 200
    if options.target:
        return command.run(
            options.target, seed, seconds, pdus=options.pdus, patience=options.patience, most=most,
            folder=options.out, json_only=options.json, shrinking=options.shrinking, page=options.report,
            lanes=options.lanes,
        )  # fmt: skip
    tally, finds = Tally(), list[Found]()
    # Interrupted: somebody has seen enough, report what there is.
    with Progress(seconds, quiet=options.json) as progress, contextlib.suppress(KeyboardInterrupt):
        run(seed, seconds, progress, tally=tally, finds=finds, most=min(most, 10), pdus=options.pdus)
    tell(tally, finds, seed, as_text=not options.json, page=options.report)
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


def _files(options: argparse.Namespace) -> tuple[list[Path], str]:
    """Files, and the target: it may also stand behind them, as ``replay FILE URL``."""
    files, target = list(options.files), options.target
    if files and not target and (str(files[-1]).startswith("iscsi:/") or str(files[-1]) in KINDS):
        target = str(files.pop())
        target = target.replace("iscsi:/", "iscsi://", 1) if "://" not in target else target
    return files, target


def _replay(options: argparse.Namespace) -> int:
    files, target = _files(options)
    if target:
        return command.replay(files, target, options.patience)
    finds = 0
    with ground() as on:
        for path in files or sorted(FINDS.glob("*.json")):
            found = replay(on, Record.read(path).script)
            print(f"{path.name}: {found.find if found else 'nothing found'}")
            finds += found is not None
    return 1 if finds else 0


def _minimise(options: argparse.Namespace) -> int:
    files, target = _files(options)
    if target:
        return command.minimise(files, target, options.patience, options.seconds)
    with ground() as on:
        for path in files:
            record = Record.read(path)
            found = replay(on, record.script)
            if found is None or found.find.kind != record.kind:
                print(f"{path.name}: does not happen: {found.find if found else 'nothing found'}")
                return 1
            smaller = shrink(on, found, seconds=options.seconds)
            Record(smaller.script, smaller.find.kind, smaller.find.what, record.fixed).write(path)
            print(f"{path.name}: {len(record.script.steps)} steps became {len(smaller.script.steps)}")
    return 0


def _mutants(options: argparse.Namespace) -> int:
    return mutants.main(options.files, options.seconds, as_json=options.json, seed=options.seed)


def _coverage(options: argparse.Namespace) -> int:
    from fuzz import coverage  # atheris is large, and for this alone

    return coverage.main(options.what, options.seconds, options.corpus)


if __name__ == "__main__":
    sys.exit(main())
