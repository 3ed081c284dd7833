"""The command table and the document that is written from it."""

from scsipub.scsi.commands import ACTION_OPCODES, COMMANDS
from tests.support import scsi_parts
from tests.support.generated import DOCS, with_parts


def test_the_document_says_what_the_tables_say():
    """``make docs`` writes it anew."""
    text = (DOCS / "scsi.md").read_text()
    assert with_parts("scsi.md", text) == text


def test_every_command_is_in_the_document():
    _, rows = scsi_parts.commands()
    assert len(rows) == len(COMMANDS)


def test_an_operation_code_has_service_actions_or_has_none():
    for opcode, action in COMMANDS:
        assert (action is None) == (opcode not in ACTION_OPCODES)


def test_what_is_deliberately_missing_is_missing():
    """FORMAT UNIT, LOG SELECT and SENSE, BUFFER and DIAGNOSTIC commands."""
    missing = {0x04, 0x1C, 0x1D, 0x3B, 0x3C, 0x4C, 0x4D}
    assert not missing & {opcode for opcode, _ in COMMANDS}
