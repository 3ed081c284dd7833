"""What a worker lets control know: news always, complaints as they fit, tracebacks seldom."""

import logging

import trio

from scsipub.errors import HEADER_NOTE
from scsipub.limits import DEFAULT
from scsipub.target.descriptor import Arrival
from scsipub.worker.telling import Telling, bare, header_of, place_of
from supervisor.channel import ChannelClosed

ARRIVAL = Arrival(
    id="a", source="192.0.2.1", source_port=1, local="l", local_port=2, portal=0, tls=False, accepted=0.0
)


class Line:
    """A channel with a dial."""

    def __init__(self):
        self.full = self.closed = False
        self.said = []

    def try_cast(self, what, params):
        if self.full or self.closed:
            return False
        self.said.append((what, params))
        return True

    async def cast(self, what, params):
        if self.closed:
            raise ChannelClosed
        await trio.sleep(1)
        self.said.append((what, params))


def crash(message="boom"):
    try:
        raise ZeroDivisionError(message)
    except ZeroDivisionError as error:
        return error


async def test_news_wait_for_room_even_for_who_is_cancelled(autojump_clock):
    """Control would count a session for ever whose end it had not heard of."""
    line = Line()
    line.full = True
    with trio.CancelScope() as scope:
        scope.cancel()
        await Telling(line, DEFAULT).news("ended", {"session": "s"})

    assert line.said == [("ended", {"session": "s"})]


async def test_news_for_a_control_that_is_gone_are_no_news():
    line = Line()
    line.closed = True

    await Telling(line, DEFAULT).news("ended", {"session": "s"})

    assert line.said == []


def test_complaints_that_do_not_fit_are_counted_and_dropped():
    line = Line()
    telling = Telling(line, DEFAULT)
    telling.complain("malformed", ARRIVAL, "x" * 1000)
    line.full = True
    telling.complain("malformed", ARRIVAL, "because")

    assert telling.untold == 1
    ((what, params),) = line.said
    assert what == "complaint"
    assert params == {"kind": "malformed", "source": "192.0.2.1", "why": "x" * 300, "session": "a"}


def test_a_crash_is_told_with_its_pdu_and_logged_with_its_traceback(caplog):
    line = Line()
    error = crash()
    error.add_note(HEADER_NOTE + "01" * 48)
    with caplog.at_level(logging.ERROR):
        Telling(line, DEFAULT).crashed(ARRIVAL, ExceptionGroup("nursery", [ExceptionGroup("inner", [error])]))

    ((_, params),) = line.said
    assert (params["kind"], params["why"], params["pdu"]) == ("crash", "ZeroDivisionError: boom", "01" * 48)
    assert caplog.records[0].exc_info[1] is error


def test_the_same_crash_again_is_told_and_its_traceback_is_not(caplog):
    """A stranger decides how often."""
    line = Line()
    telling = Telling(line, DEFAULT)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            telling.crashed(ARRIVAL, crash())

    assert len(line.said) == 5
    assert len(caplog.records) == 1


def test_places_that_crashed_are_bounded():
    telling = Telling(Line(), DEFAULT)
    for n in range(300):
        telling.crashed(ARRIVAL, type(f"Error{n}", (Exception,), {})("x"))

    assert len(telling.places) == 100


def test_errors_are_unwrapped_while_they_are_alone():
    error = crash()

    assert bare(ExceptionGroup("a", [ExceptionGroup("b", [error])])) is error
    two = ExceptionGroup("a", [error, ValueError()])
    assert bare(two) is two


def test_without_a_note_no_pdu_is_known():
    error = crash()
    error.add_note("something else")

    assert header_of(error) == ""
    assert header_of(ValueError()) == ""


def test_a_place_is_where_it_was_raised():
    assert "ZeroDivisionError at" in place_of(crash())
    assert "test_telling.py" in place_of(crash())
    assert place_of(ValueError()) == "ValueError at ?"


def test_more_is_said_as_it_comes():
    line = Line()
    Telling(line, DEFAULT).complain("reject 0x05", ARRIVAL, "w", count=3, initiator="iqn.a")

    assert line.said[0][1]["count"] == 3
