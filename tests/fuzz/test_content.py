"""What the model of a disk holds possible."""

import pytest

from fuzz.content import SECTOR, Content

OLD, NEW, OTHER = b"o" * SECTOR, b"n" * SECTOR, b"x" * SECTOR


@pytest.fixture
def content():
    return Content(OLD * 4)


def read(content, first, data):
    return content.complaint(first, data, epoch=content.epoch)


def test_what_was_written_must_be_read(content):
    content.put(1, NEW)

    assert read(content, 0, OLD + NEW + OLD) == ""
    assert "sector 1" in read(content, 0, OLD + OLD + OLD)


def test_what_was_perhaps_written_is_old_or_new_and_nothing_else(content):
    content.perhaps(1, NEW)

    assert "sector 1" in read(content, 1, OTHER)
    assert read(content, 1, NEW) == ""


def test_reading_settles_a_doubt(content):
    content.perhaps(1, NEW)
    read(content, 1, OLD)

    assert "sector 1" in read(content, 1, NEW)


def test_a_doubt_stays_while_somebody_writes(content):
    content.perhaps(1, NEW)
    content.complaint(1, OLD, epoch=content.epoch, settle=False)

    assert read(content, 1, NEW) == ""


def test_a_read_that_met_a_write_proves_nothing(content):
    before = content.epoch
    content.put(1, NEW)

    assert content.complaint(1, OLD, epoch=before) == ""


def test_after_an_unknown_command_anything_may_be_there_but_stays(content):
    content.forget(0, 4)

    assert read(content, 2, OTHER) == ""
    assert "sector 2" in read(content, 2, NEW)
