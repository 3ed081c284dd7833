"""``make load``: the load scripts one after the other, or those that are named.

python -m tests.load [idle] [malformed] [kill] [rotation] [neighbours]"""

import subprocess
import sys

from tests.support.daemon import REPOSITORY

SCRIPTS = ("idle", "malformed", "kill", "rotation", "neighbours")


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SCRIPTS]
    if unknown:
        print(f"there is no {unknown[0]}; known: {', '.join(SCRIPTS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or SCRIPTS:
        print(f"== {name}", flush=True)
        line = [sys.executable, "-m", f"tests.load.{name}"]
        failed |= subprocess.run(line, cwd=REPOSITORY, check=False).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
