"""supervisor/wire.py: frames, and what is not one."""

import contextlib
import json
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import wire
from supervisor.wire import Call, Cast, Failure, Result, Splitter, WireError, pack, parse_untrusted

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
params = st.dictionaries(st.text(), json_values, max_size=3)
fds = st.integers(0, wire.MAX_FDS)
messages = st.one_of(
    st.builds(Call, st.integers(0), st.text(), params, fds),
    st.builds(Cast, st.text(), params, fds),
    st.builds(Result, st.integers(0), json_values, fds),
    st.builds(Failure, st.integers(0), st.text(), st.text(), json_values),
)


def frame(body: object) -> bytes:
    payload = json.dumps(body).encode()
    return struct.pack(">I", len(payload)) + payload


@given(st.lists(messages, max_size=4), st.data())
@settings(max_examples=80, deadline=None)
def test_where_the_stream_is_cut_does_not_matter(said, data):
    """A Unix stream socket promises bytes, not frames."""
    stream = b"".join(map(pack, said))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    splitter = Splitter()
    heard = []

    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += splitter.feed_untrusted(stream[start:end])

    assert heard == said
    assert splitter.kept == 0


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_noise_is_a_message_or_a_wire_error_and_nothing_else(noise):
    try:
        list(Splitter().feed_untrusted(noise))
        parse_untrusted(noise)
    except WireError:
        pass


@given(json_values)
@settings(max_examples=100, deadline=None)
def test_any_json_is_a_message_or_a_wire_error(value):
    with contextlib.suppress(WireError):
        parse_untrusted(json.dumps(value).encode())


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"id": 1},
        {"id": "1", "result": None},
        {"id": True, "result": None},
        {"result": None},
        {"method": 5},
        {"method": "x", "params": []},
        {"method": "x", "id": None},
        {"method": "x", "fds": -1},
        {"method": "x", "fds": wire.MAX_FDS + 1},
        {"method": "x", "fds": "1"},
        {"method": "x", "fds": True},
        {"id": 1, "error": "no"},
        {"id": 1, "error": {"code": "no"}},
        {"id": 1, "error": {"code": 1, "message": "m"}},
        {"id": 1, "error": {"code": "c", "message": "m"}, "fds": 1},
    ],
)
def test_a_malformed_message_is_refused(body):
    with pytest.raises(WireError):
        list(Splitter().feed_untrusted(frame(body)))


def test_a_method_without_params_has_none():
    assert list(Splitter().feed_untrusted(frame({"method": "x"}))) == [Cast("x", {}, 0)]


def test_a_frame_of_the_greatest_length_is_collected_and_one_byte_more_is_not():
    """The length is refused before the bytes come: nobody makes us hold more."""
    assert list(Splitter().feed_untrusted(struct.pack(">I", wire.MAX_FRAME))) == []
    with pytest.raises(WireError):
        list(Splitter().feed_untrusted(struct.pack(">I", wire.MAX_FRAME + 1)))


def test_what_is_too_long_is_not_packed():
    longest = "x" * (wire.MAX_FRAME - len('{"method":"m","params":{"p":""}}'))

    assert len(pack(Cast("m", {"p": longest}))) == wire.MAX_FRAME + 4
    with pytest.raises(WireError):
        pack(Cast("m", {"p": longest + "x"}))


@pytest.mark.parametrize("value", [float("nan"), object(), b"bytes", {1, 2}])
def test_what_json_cannot_say_is_not_packed(value):
    with pytest.raises(WireError):
        pack(Result(1, value))


def test_more_descriptors_than_one_message_may_carry_are_not_packed():
    pack(Cast("m", {}, wire.MAX_FDS))
    with pytest.raises(WireError):
        pack(Cast("m", {}, wire.MAX_FDS + 1))


def test_deep_nesting_is_a_wire_error():
    """json.loads raises RecursionError, which must not reach the reader's task."""
    with pytest.raises(WireError):
        parse_untrusted(b'{"method":"x","params":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}")


def test_good_frames_before_a_bad_one_are_delivered():
    splitter = Splitter()
    heard = []

    with pytest.raises(WireError):
        for message in splitter.feed_untrusted(pack(Cast("good", {})) + frame([])):
            heard.append(message)

    assert heard == [Cast("good", {})]
