"""A process of the daemon, had a stranger taken it over: its own command line, and the stranger's code."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.daemon import REPOSITORY

STRANGER = """
import importlib, json, sys
import trio

def taken_over(serve, channel_fd):
    def may(path, how):
        try:
            with open(path, how):
                return True
        except OSError:
            return False
    print(json.dumps([name for name, (path, how) in json.loads(places).items() if may(path, how)]))

places, program, arguments = sys.argv[1], importlib.import_module(sys.argv[2]), sys.argv[3:]
trio.run = taken_over
program.main(arguments)
"""


def reached(program: str, arguments: Sequence[str], places: Mapping[str, tuple[Path | str, str]]) -> set[str]:
    """Which of these ``places`` (a path, and how to open it) code in the process can open.

    ``program``: the module whose ``main`` is called with ``arguments``, up to where it would serve."""
    told = json.dumps({name: (str(path), how) for name, (path, how) in places.items()})
    command = [sys.executable, "-c", STRANGER, told, program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))
