"""The short form of ``make guest``, as every change runs it."""

import shutil
import sys

import pytest

from tests.guest.__main__ import main
from tests.guest.machine import QEMU


@pytest.mark.wire
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which(QEMU) is None, reason="qemu-system-x86 is not here")
def test_linux_keeps_a_file_system_on_the_daemon_through_logout_and_login(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["guest", "--short"])

    assert main() == 0, capsys.readouterr().out
