"""The walls of the house: who may know whom, read from the source itself.

docs/tour.md draws the same picture."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    [*ROOT.glob("scsipub/**/*.py"), *ROOT.glob("supervisor/**/*.py"), *ROOT.glob("fuzz/**/*.py")]
)

# What waits, what talks to the kernel, and what tells the time.
TRIO = {"trio", "asyncio", "anyio"}
SOCKETS = {"socket", "ssl", "select", "selectors"}
CLOCKS = {"time", "datetime", "sched"}
FILES = {"os", "pathlib", "shutil", "tempfile", "mmap", "fcntl", "io"}
PROCESSES = {"subprocess", "multiprocessing", "threading", "signal", "concurrent"}
ABOVE = {f"scsipub.{room}" for room in ("worker", "control", "web", "cli", "store", "bench", "faults")}
CORE = {f"scsipub.{room}" for room in ("iscsi", "scsi", "storage", "target")}

# room -> what it must not import.  A name stands for itself and everything below it.
WALLS = {
    "scsipub/errors.py": {"scsipub", "supervisor"} | TRIO | SOCKETS | CLOCKS | FILES | PROCESSES,
    "scsipub/limits.py": {"scsipub", "supervisor"} | TRIO | SOCKETS | CLOCKS | FILES | PROCESSES,
    "scsipub/tiers.py": CORE | ABOVE | {"supervisor"} | TRIO | SOCKETS | CLOCKS | FILES | PROCESSES,
    "scsipub/recipes.py": CORE | ABOVE | {"supervisor"} | TRIO | SOCKETS | CLOCKS | FILES | PROCESSES,
    "scsipub/config": CORE | ABOVE | {"supervisor"} | TRIO | SOCKETS | CLOCKS | PROCESSES,
    "scsipub/iscsi": ABOVE
    | (CORE - {"scsipub.iscsi"})
    | {"scsipub.config", "scsipub.tiers", "supervisor"}
    | TRIO
    | SOCKETS
    | CLOCKS
    | FILES
    | PROCESSES,
    "scsipub/scsi": ABOVE
    | (CORE - {"scsipub.scsi"})
    | {"scsipub.config", "scsipub.tiers", "supervisor"}
    | TRIO
    | SOCKETS
    | CLOCKS
    | FILES
    | PROCESSES,
    # os only, and a lock: disks are read from threads.
    "scsipub/storage": ABOVE
    | (CORE - {"scsipub.storage"})
    | {"scsipub.config", "scsipub.tiers", "supervisor"}
    | TRIO
    | SOCKETS
    | CLOCKS
    | (PROCESSES - {"threading"}),
    # It reads what strangers made, and is a program of its own.
    "scsipub/convert": (CORE - {"scsipub.storage"})
    | ABOVE
    | {"scsipub.config", "supervisor"}
    | TRIO
    | SOCKETS - {"selectors"},
    # It speaks with strangers' servers, for the command line too.
    "scsipub/fetch": (CORE - {"scsipub.storage"}) | ABOVE | {"scsipub.config", "supervisor"} | TRIO,
    "scsipub/target": ABOVE | {"scsipub.config", "supervisor"} | TRIO | SOCKETS | CLOCKS | FILES | PROCESSES,
    # Rows and secrets, and the actor that has the one thread at them; disks are somebody else's.
    "scsipub/store": CORE | (ABOVE - {"scsipub.store"}) | {"scsipub.config"} | (TRIO - {"trio"}) | PROCESSES,
    "scsipub/worker": {"scsipub.control", "scsipub.web", "scsipub.cli", "scsipub.store"},
    # Control parses nothing that a stranger sent; it may check a CHAP response and name a status.
    "scsipub/control": {"scsipub.worker", "scsipub.web", "scsipub.cli"}
    | {
        f"scsipub.iscsi.{module}" for module in ("pdu", "framing", "data", "text", "keys", "login", "session")
    },
    # serve hands over to control; the other commands talk to it, take in images, and measure.
    "scsipub/cli": {f"scsipub.{room}" for room in ("iscsi", "scsi", "target", "worker", "web", "store")},
    # The client's end: it runs where there is no daemon.
    "scsipub/connect": CORE | ABOVE | {"supervisor"},
    "scsipub/web": CORE | {"scsipub.worker", "scsipub.control", "scsipub.cli"},
    # Trouble on demand: rules are told the time and the chance; only the proxy and the disk wait.
    "scsipub/faults": (CORE - {"scsipub.scsi"}) | (ABOVE - {"scsipub.faults"}) | {"supervisor"},
    "scsipub/faults/rules.py": TRIO | SOCKETS | CLOCKS | FILES | PROCESSES,
    "scsipub/faults/weather.py": TRIO | SOCKETS | CLOCKS | FILES | PROCESSES | {"scsipub.scsi"},
    # It measures any target, so a mistake of ours must not be in both.
    "scsipub/bench": CORE | (ABOVE - {"scsipub.bench"}) | {"supervisor"},
    "supervisor": {"scsipub", "fuzz", "tests"},
}
# Pure halves of rooms that otherwise know trio.
PURE = ("spec", "exits", "budget", "plan", "telemetry", "wire")


def imports(source: str) -> set[str]:
    """Every module that a source names, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def through_the_wall(source: str, forbidden: set[str]) -> set[str]:
    return {
        name for name in imports(source) for wall in forbidden if name == wall or name.startswith(wall + ".")
    }


@pytest.mark.parametrize("room", WALLS)
def test_nobody_reaches_through_a_wall(room):
    files = [file for file in SOURCES if file.is_relative_to(ROOT / room)]

    assert {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in through_the_wall(file.read_text(), WALLS[room])
    } == set()


@pytest.mark.parametrize("name", PURE)
def test_the_arithmetic_of_supervision_knows_no_trio(name):
    file = ROOT / "supervisor" / f"{name}.py"
    if file.exists():
        assert through_the_wall(file.read_text(), TRIO | SOCKETS | CLOCKS | PROCESSES | {"os"}) == set()


@pytest.mark.parametrize(
    "line", ["import trio", "from trio import lowlevel", "import trio.socket", "def f():\n    import trio"]
)
def test_the_test_itself_sees_an_import_in_any_form(line):
    assert through_the_wall(line, TRIO)
    assert not through_the_wall("import triop", TRIO)


def test_a_submodule_taken_from_its_package_is_seen():
    assert through_the_wall("from scsipub import scsi", CORE) == {"scsipub.scsi"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_check_vanishes_under_python_o(file):
    """An assert is a check that python -O removes; a stranger's bytes are checked with if and raise."""
    asserts = [node.lineno for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Assert)]

    assert asserts == []


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_says_what_it_is_and_stays_about_one_thing(file):
    source = file.read_text()

    assert ast.get_docstring(ast.parse(source)), "begin the file by saying what it is"
    assert len(source.splitlines()) <= 450, "look for the door between two rooms"


# The ages of files, when a session began for people to read, and what is wrong with the clock.
CALENDAR = {
    "scsipub/cli/doctor.py", "scsipub/control/imports.py", "scsipub/control/janitor.py",
    "scsipub/worker/opening.py",
}  # fmt: skip


def test_no_deadline_hangs_on_the_clock_on_the_wall():
    """An operator, or a time server, may set it by an hour: nobody must be thrown out or kept for that."""
    users = {
        str(file.relative_to(ROOT))
        for top in ("scsipub", "supervisor")
        for file in (ROOT / top).rglob("*.py")
        if "time.time(" in file.read_text()
    }

    assert users == CALENDAR
