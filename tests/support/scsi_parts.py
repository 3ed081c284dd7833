"""The tables of ``docs/scsi.md``, written from the tables of ``scsipub/scsi``."""

from pathlib import Path

from scsipub.scsi import attentions, inquiry, limits, modes
from scsipub.scsi.command import Command, During, Needs
from scsipub.scsi.commands import COMMANDS
from scsipub.scsi.identity import UnitConfig

TESTS = Path(__file__).resolve().parents[1] / "scsi"
Row = tuple[str, ...]

_UNIT = UnitConfig(uuid=bytes(16))


def _module(command: Command) -> str:
    return command.handler.__module__.rpartition(".")[2]


def test_file(module: str) -> str:
    """Where the behaviour of a module is tested; ValueError when nowhere."""
    if not (TESTS / f"test_{module}.py").exists():
        raise ValueError(f"no tests/scsi/test_{module}.py")
    return f"`test_{module}`"


def commands() -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    for key in sorted(COMMANDS, key=lambda key: (key[0], key[1] or 0)):
        row = COMMANDS[key]
        code = f"{row.opcode:02X}h" + ("" if row.action is None else f"/{row.action:02X}h")
        needs = [
            word
            for flag, word in ((Needs.MEDIUM, "medium"), (Needs.WRITABLE, "writable"))
            if flag in row.needs
        ]
        passes = [
            word
            for flag, word in ((During.ATTENTION, "unit attentions"), (During.SANITIZE, "sanitize"))
            if flag in row.during
        ]
        module = _module(row)
        rows.append(
            (
                code,
                row.name + (" (thin units)" if row.thin_only else ""),
                row.reserved.value,
                ", ".join(needs),
                ", ".join(passes),
                f"{row.recommended_seconds} s",
                f"`{module}`",
                test_file(module),
            )
        )
    return (
        "code",
        "command",
        "a stranger's reservation",
        "needs",
        "passes",
        "timeout",
        "module",
        "tests",
    ), rows


_PAGES = {
    0x00: "supported pages",
    0x80: "unit serial number: the unit's UUID",
    0x83: "NAA 6, EUI-64, T10 and SCSI name of the unit; number, group and name of the port; target",
    0x86: "extended INQUIRY data: task attributes, volatile cache",
    0x87: "mode page policy: all pages are shared by all nexuses",
    0x8F: "third-party copy",
    0xB0: "block limits",
    0xB1: "block device characteristics: does not rotate; readable after an erase",
    0xB2: "logical block provisioning: UNMAP and WRITE SAME unmap, unmapped blocks read zero",
}


def pages() -> tuple[Row, list[Row]]:
    return ("page", "what it says"), [(f"{page:02X}h", _PAGES[page]) for page in sorted(inquiry.PAGES)]


def mode_pages() -> tuple[Row, list[Row]]:
    names = {
        modes.CACHING: ("caching", "WCE as configured"),
        modes.CONTROL: ("control", "TST 0, unrestricted reordering, TAS 0"),
        modes.INFORMATIONAL_EXCEPTIONS: ("informational exceptions", "DEXCPT: none are reported"),
    }
    changeable = {modes.CONTROL: "SWP, D_SENSE"}
    for page, row in modes.PAGES.items():
        if any(row.changeable) != (page in changeable):
            raise ValueError(f"mode page {page:02X}h: the document does not know what may be changed")
    rows: list[Row] = []
    for page in modes.PAGES:
        rows.append((f"{page:02X}h", *names[page], changeable.get(page, "nothing")))
    return ("page", "name", "says", "changeable"), rows


def unit_limits() -> tuple[Row, list[Row]]:
    size = _UNIT.block_size
    mib = f"{{}} blocks ({size} bytes each)"
    return ("limit", "where it is told", "value"), [
        ("MAXIMUM TRANSFER LENGTH", "VPD B0h", mib.format(limits.max_transfer(_UNIT))),
        ("MAXIMUM WRITE SAME LENGTH", "VPD B0h", mib.format(limits.max_write_same(_UNIT))),
        ("MAXIMUM UNMAP LBA COUNT", "VPD B0h", mib.format(limits.max_unmap(_UNIT))),
        ("MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT", "VPD B0h", str(limits.UNMAP_DESCRIPTORS)),
        ("MAXIMUM ATOMIC TRANSFER LENGTH", "VPD B0h", mib.format(limits.max_atomic(_UNIT))),
        ("MAXIMUM COMPARE AND WRITE LENGTH", "VPD B0h", mib.format(limits.COMPARE_AND_WRITE_BLOCKS)),
        ("target descriptors of EXTENDED COPY", "VPD 8Fh, 84h/03h", str(limits.COPY_TARGETS)),
        ("segment descriptors of EXTENDED COPY", "VPD 8Fh, 84h/03h", str(limits.COPY_SEGMENTS)),
        ("length of a segment", "VPD 8Fh, 84h/03h", f"{limits.COPY_SEGMENT_BYTES >> 20} MiB"),
        ("unit attentions waiting per nexus", "", str(attentions.QUEUE_LENGTH)),
    ]


_ATTENTIONS = {
    "POWER_ON_OR_RESET": "TARGET WARM RESET",
    "POWER_ON": "TARGET COLD RESET; the daemon was restarted",
    "BUS_DEVICE_RESET": "LOGICAL UNIT RESET",
    "NEXUS_LOSS": "this nexus was lost and is back",
    "MEDIUM_MAY_HAVE_CHANGED": "another nexus loaded the medium",
    "MODE_PARAMETERS_CHANGED": "another nexus changed a mode page",
    "RESERVATIONS_PREEMPTED": "another nexus cleared the persistent reservations",
    "RESERVATIONS_RELEASED": "another nexus gave up a reservation that this one shared",
    "REGISTRATIONS_PREEMPTED": "another nexus removed this one's registration",
    "CAPACITY_CHANGED": "the unit was resized",
    "COMMANDS_CLEARED_BY_ANOTHER": "another nexus aborted this one's commands",
    "THIN_SOFT_THRESHOLD": "little is left of the disk's budget",
    "INQUIRY_CHANGED": "the unit describes itself differently",
    "LUNS_CHANGED": "the session has other LUNs; REPORT LUNS clears it",
}


def unit_attentions() -> tuple[Row, list[Row]]:
    rows: list[Row] = []
    for name, why in _ATTENTIONS.items():
        asc, ascq = getattr(attentions, name)
        rows.append((f"{asc:02X}h/{ascq:02X}h", name.replace("_", " ").lower(), why))
    known = {name for name in vars(attentions) if name.isupper() and name != "QUEUE_LENGTH"}
    if known != set(_ATTENTIONS):
        raise ValueError(f"the document and scsi.attentions differ: {known ^ set(_ATTENTIONS)}")
    return ("code", "name", "when"), rows
