"""Rates are what lies between two looks, and never less than nothing."""

import pytest

from scsipub.web.live_numbers import HISTORY, MOST_ROWS, Look, Numbers, quantiles


def look(at, read=0, sessions=(), times=(), worker_read=None):
    counters = {"bytes_read": read, "bytes_written": 0, "operations": 0}
    worker = {"index": 0, "state": "ready", "sessions": 1, "restarts": 0, "times": list(times), **counters}
    if worker_read is not None:
        worker["bytes_read"] = worker_read
    status = {"counters": counters, "sessions": len(sessions), "parked": 0, "workers": [worker]}
    return Look(at, status, {each["id"]: each for each in sessions})


def session(id, read=0, **more):
    return {
        "id": id, "initiator": "iqn.a:b", "target": "", "source": "192.0.2.1", "since": "", "last_error": "",
        "worker": 0, "tls": False, "iops": 0.0, "bytes_read": read, "bytes_written": 0, **more,
    }  # fmt: skip


def test_the_first_look_has_nothing_to_compare_with():
    assert Numbers().add(look(5.0, read=1000))["now"] == [0, 0, 0.0, 0.0, 0.0]


def test_a_rate_is_the_growth_in_a_second():
    numbers = Numbers()
    numbers.add(look(5.0, read=1000))

    assert numbers.add(look(7.0, read=5000))["now"][0] == 2000


def test_a_worker_that_was_replaced_counts_from_nothing():
    numbers = Numbers()
    numbers.add(look(1.0, worker_read=9000))

    assert numbers.add(look(2.0, worker_read=10))["workers"][0]["read"] == 0


def test_after_a_long_silence_the_curve_begins_anew():
    numbers = Numbers()
    numbers.add(look(1.0))
    numbers.add(look(2.0))
    numbers.add(look(60.0, read=10**9))

    assert list(numbers.curve) == [[0, 0, 0.0, 0.0, 0.0]]


def test_the_curve_has_an_end():
    numbers = Numbers()
    for at in range(HISTORY + 10):
        numbers.add(look(float(at)))

    assert len(numbers.curve) == HISTORY


def test_the_busiest_come_first_and_only_so_many():
    numbers = Numbers()
    many = [session(f"{n:03}") for n in range(MOST_ROWS + 5)]
    numbers.add(look(1.0, sessions=many))
    rows = numbers.add(look(2.0, sessions=[*many[:-1], session(many[-1]["id"], read=4096)]))["rows"]

    assert (rows[0]["id"], rows[0]["read"], len(rows)) == (many[-1]["id"], 4096, MOST_ROWS)


def test_names_that_strangers_chose_are_made_visible():
    rows = Numbers().add(look(1.0, sessions=[session("1", initiator="a\x1b[2J\u202e")]))["rows"]

    assert rows[0]["initiator"] == "a\\x1b[2J\\u202e"


@pytest.mark.parametrize(
    ("now", "then", "typical", "slow"),
    [
        ({}, {}, 0.0, 0.0),
        ({0: [0, 0, 0, 8]}, {0: [0, 0, 0, 8]}, 0.0, 0.0),
        ({0: [0, 0, 0, 8]}, {}, 6.0, 8.0),
        ({0: [0, 0, 0, 10], 1: [0, 0, 0, 0, 0, 10]}, {0: [0, 0, 0, 0]}, 8.0, 31.7),
        ({0: [0, 0, 1]}, {0: [0, 0, 100]}, 0.0, 0.0),
    ],
)
def test_the_times_between_two_looks_are_read_off_their_buckets(now, then, typical, slow):
    found = quantiles(now, then)

    assert found == (pytest.approx(typical, abs=0.1), pytest.approx(slow, abs=0.1))
