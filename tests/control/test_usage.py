"""What tenants have moved: kept when sessions end, never less than before."""

from scsipub.control.usage import Usage

MOVED = {"bytes_read": 10, "bytes_written": 20, "operations": 3}


def test_what_a_session_moved_is_still_counted_after_its_end():
    usage = Usage({"mine": "ada"}.get)
    living = [{"target": "mine", **MOVED}]

    before = usage.with_living(living)["ada"]
    usage.ended("mine", MOVED)
    after = usage.with_living([])["ada"]

    assert before == {**MOVED, "sessions": 1}
    assert after == {**MOVED, "sessions": 0}


def test_targets_that_nobody_rents_have_no_row():
    usage = Usage({}.get)
    usage.ended("blank", MOVED)

    assert usage.with_living([{"target": "blank", **MOVED}]) == {}
