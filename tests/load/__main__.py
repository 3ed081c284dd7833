"""``make load``: the load scripts one after the other, or those that are named.

python -m tests.load [shape] [malformed] [kill] [rotation] [neighbours] [idle] [beside]

Options after a name are that script's: ``python -m tests.load shape --write``."""

import subprocess
import sys

from tests.support.daemon import REPOSITORY

SCRIPTS = ("shape", "malformed", "kill", "rotation", "neighbours")
MORE = ("idle", "beside")  # parts of the shape, alone


def main(words: list[str]) -> int:
    wanted: list[list[str]] = []
    for word in words:
        if word in SCRIPTS + MORE:
            wanted.append([word])
        elif wanted and word not in SCRIPTS:
            wanted[-1].append(word)
        else:
            print(f"there is no {word}; known: {', '.join(SCRIPTS + MORE)}", file=sys.stderr)
            return 2
    failed = 0
    for name, *options in wanted or [[name] for name in SCRIPTS]:
        print(f"== {name}", flush=True)
        line = [sys.executable, "-m", f"tests.load.{name}", *options]
        failed |= subprocess.run(line, cwd=REPOSITORY, check=False).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
