"""A login on a socket: what is read, what is refused, what is dropped without a word, and when it is over."""

import base64
import subprocess
import sys
from collections import Counter
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from scsipub.iscsi import pdu
from scsipub.iscsi.text import format_text
from scsipub.limits import DEFAULT
from scsipub.target.descriptor import AuthDescriptor, Verdict
from tests.support.worker_parts import NAME, PREFIX, Hung, set_up

LOGIN = 0x43


@pytest.fixture
def clock(autojump_clock):
    autojump_clock.autojump_threshold = 0.02  # threads must have their time
    return autojump_clock


async def complaints(bench, peer):
    """What control was told, once the connection is closed."""
    await bench.until(lambda: any(c["connection"] == peer.id for c in bench.control.heard("closed")))
    return bench.control.complaints


def login_of(length):
    """A Login Request whose header promises so many bytes."""
    return bytes((LOGIN, 0x87, 0, 0, 0)) + length.to_bytes(3) + bytes(40)


async def test_a_login_opens_a_session_and_control_hears_of_it(bench):
    peer = await bench.open()
    await bench.until(lambda: bench.control.heard("opened"))

    ((what, params),) = bench.control.told
    assert what == "opened"
    assert params == {"connection": peer.id, "session": f"{1:016x}", "discovery": False}
    assert list(bench.worker.live) == [f"{1:016x}"]


async def test_what_ends_is_told_in_order(bench):
    peer = await bench.open()
    await peer.write(0, b"x" * 512)
    peer.sock.close()

    await bench.until(lambda: bench.control.heard("closed"))

    assert [what for what, _ in bench.control.told] == ["opened", "ended", "closed"]
    moved = {"bytes_read": 0, "bytes_written": 512, "operations": 2}  # TEST UNIT READY met the attention
    assert bench.control.heard("ended") == [{"session": f"{1:016x}", "written": True, **moved}]
    assert not bench.worker.live
    assert bench.worker.connections == 0


async def test_a_session_that_wrote_nothing_says_so(bench):
    peer = await bench.open()
    await peer.read(0, 8)
    peer.sock.close()

    await bench.until(lambda: bench.control.heard("ended"))

    assert bench.control.heard("ended")[0]["written"] is False


@pytest.mark.parametrize(
    ("first", "kind"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP request"),
        (b"G", "first PDU is not login"),
        (b"\x16\x03\x01", "TLS on the plain port"),
        (b"\x01" + bytes(47), "first PDU is not login"),
        (b"\x40" + bytes(47), "first PDU is not login"),
        (b"\x03" + bytes(47), "first PDU is not login"),
        (b"\xff" * 48, "first PDU is not login"),
        (bytes(48), "first PDU is not login"),
        (login_of(8193), "oversized login PDU"),
        (login_of(0xFFFFFF), "oversized login PDU"),
    ],
)
async def test_what_is_no_login_is_dropped_at_once_and_without_a_word(bench, first, kind):
    peer = await bench.connect()
    await peer.send(first)

    with trio.fail_after(5):
        assert await peer.hung_up()

    assert peer.buffer == b""
    assert await complaints(bench, peer) == [kind]


async def test_a_pdu_of_the_whole_size_that_is_allowed_is_read(bench):
    peer = await bench.connect()
    keys = format_text([("InitiatorName", NAME), ("SessionType", "Discovery")])
    room = 8192 - len(keys) - len(b"X-a=\0")
    filler = b"".join(b"X-%d=%s\0" % (n, b"v" * 200) for n in range(room // 210))
    data = keys + filler
    data += b"X-last=" + b"v" * (8192 - len(data) - 8) + b"\0"
    request = attrs.evolve(peer.login_request({}), data=data)

    await peer.say(request)

    assert len(data) == 8192
    assert isinstance(await peer.hear(), pdu.LoginResponse)


async def test_a_login_may_come_in_single_bytes(bench):
    peer = await bench.connect()
    for byte in pdu.wire(peer.login_request(peer.names("blank"))):
        await peer.send(bytes((byte,)))
        await trio.lowlevel.checkpoint()

    answer = await peer.hear()

    assert (answer.status, answer.transit, answer.next_stage) == (0, True, 3)


async def test_what_comes_right_behind_the_login_is_not_lost(bench):
    peer = await bench.connect()
    ping = pdu.NopOut(immediate=True, initiator_task_tag=7, cmd_sn=1, data=b"already")

    await peer.send(pdu.wire(peer.login_request(peer.names("blank"))) + pdu.wire(ping))

    assert isinstance(await peer.hear(), pdu.LoginResponse)
    assert (await peer.hear()).data == b"already"


async def test_silence_is_cut_off_fifteen_seconds_after_accept(bench, clock):
    peer = await bench.connect()
    began = trio.current_time()

    assert await peer.hung_up()

    assert trio.current_time() - began == pytest.approx(15.0, abs=0.5)
    assert await complaints(bench, peer) == ["login timeout"]


async def test_the_deadline_counts_from_accept_and_not_from_us(bench, clock):
    peer = await bench.connect(age=10.0)
    began = trio.current_time()

    assert await peer.hung_up()

    assert trio.current_time() - began == pytest.approx(5.0, abs=0.5)


async def test_traffic_does_not_move_the_deadline(bench, clock):
    peer = await bench.connect()
    began = trio.current_time()

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for byte in pdu.wire(peer.login_request(peer.names("blank"))):
            await peer.send(bytes((byte,)))
            await trio.sleep(1.0)

    assert trio.current_time() - began < 17


async def test_login_requests_without_end_are_refused_at_the_bound(bench):
    peer = await bench.connect()
    await peer.say(peer.login_request(peer.names("blank"), nsg=None))
    count = 1
    with pytest.raises((Hung, BrokenPipeError)):
        while True:
            answer = await peer.hear()
            if answer.status:
                break
            count += 1
            await peer.say(peer.login_request({}, nsg=None))
        await peer.hear()

    assert count == DEFAULT.login_pdus + 1  # the last that is allowed was answered
    assert answer.status >> 8 == 2


async def test_a_catalogue_that_refuses_is_heard(bench):
    bench.control.refuse["resolve"] = Verdict(refuse=0x0203, why="no target x")
    peer = await bench.connect()

    answer = await peer.login("x")

    assert answer.status == 0x0203
    assert await peer.hung_up()
    await complaints(bench, peer)
    (said,) = bench.control.heard("complaint")
    assert (said["kind"], said["status"], said["why"]) == ("login refused", 0x0203, "no target x")
    assert said["initiator"] == NAME


async def test_units_that_are_refused_end_the_login_before_it_succeeds(bench):
    bench.control.refuse["admit"] = Verdict(refuse=0x0302, why="full")
    peer = await bench.connect()

    answer = await peer.login()

    assert answer.status == 0x0302
    assert not answer.transit or answer.status
    assert bench.control.heard("opened") == []


async def test_disks_that_cannot_be_opened_end_the_login_with_an_error_of_ours(bench, monkeypatch):
    def broken(descriptor):
        raise OSError(5, "input/output error")

    monkeypatch.setattr(bench.worker.units, "open", broken)
    peer = await bench.connect()

    answer = await peer.login()

    assert answer.status == 0x0300
    assert await peer.hung_up()
    await bench.until(lambda: bench.control.heard("closed"))
    assert [what for what, _ in bench.control.told if what != "complaint"] == ["ended", "closed"]


async def test_a_redirection_is_passed_on(bench):
    bench.control.refuse["resolve"] = Verdict(redirect="other.example:3260")
    peer = await bench.connect()

    answer = await peer.login()

    assert answer.status == 0x0101
    assert b"TargetAddress=other.example:3260" in answer.data
    assert await peer.hung_up()


async def test_a_control_that_hangs_up_means_come_again(bench):
    bench.control.silent.add("resolve")
    peer = await bench.connect()
    await peer.say(peer.login_request(peer.names("blank")))
    await trio.sleep(0.01)

    bench.line.close()
    answer = await peer.hear()

    assert answer.status == 0x0301


async def test_a_control_that_hangs_up_before_the_list_of_targets_is_no_crash(bench):
    """Of a discovery login.  A crash would be held against its source."""
    bench.control.silent.add("list_targets")
    peer = await bench.connect()
    answer = await peer.login(None)
    await trio.testing.wait_all_tasks_blocked()

    bench.line.close()

    assert (answer.status, await peer.hung_up()) == (0, True)
    assert not bench.worker.telling.places


async def test_another_worker_gets_everything_that_was_read(bench):
    """Nothing has been answered, so the owner begins where we began."""
    bench.control.refuse["resolve"] = Verdict(hand_on=1)
    peer = await bench.connect()
    sent = pdu.wire(peer.login_request(peer.names("blank"))) + b"and more"
    await peer.send(sent)

    params, sock = (await bench.until(lambda: bench.control.handed_on))[0]
    await bench.until(lambda: not bench.worker.connections)

    assert params["worker"] == 1
    assert base64.b64decode(params["arrival"]["head"]) == sent
    assert params["arrival"]["answered"] == 0
    assert bench.control.heard("closed") == []
    with sock:
        sock.send(b"from the owner")
        assert await peer.sock.recv(100) == b"from the owner"


async def test_a_connection_that_is_handed_on_to_us_goes_on_where_it_was(bench):
    peer = await bench.connect()
    head = pdu.wire(peer.login_request(peer.names("blank")))

    again = await bench.connect(head=base64.b64encode(head[:30]).decode())
    await again.send(head[30:])

    assert (await again.hear()).status == 0
    await again.settle()
    assert await again.ping() == b"there?"


async def test_what_another_worker_has_answered_is_not_answered_twice(bench):
    peer = await bench.connect()
    part = peer.login_request(peer.names("blank"), nsg=None, csg=1)
    whole = pdu.wire(part) + pdu.wire(peer.login_request({}))

    again = await bench.connect(head=base64.b64encode(whole).decode(), answered=1)

    answer = await again.hear()
    assert (answer.transit, answer.status) == (True, 0)


async def test_something_else_in_the_middle_of_a_login_is_dropped(bench):
    peer = await bench.connect()
    await peer.say(peer.login_request(peer.names("blank"), nsg=None))
    await peer.hear()

    await peer.say(pdu.NopOut(immediate=True, initiator_task_tag=7, cmd_sn=1, data=b""))

    assert await peer.hung_up()
    assert await complaints(bench, peer) == ["PDU during login is not login"]


async def test_a_peer_that_leaves_in_the_middle_of_a_pdu_is_counted(bench):
    peer = await bench.connect()
    await peer.send(login_of(100)[:30])
    peer.sock.close()

    assert await complaints(bench, peer) == ["login PDU cut off"]


async def test_a_peer_that_leaves_before_its_first_byte_is_no_complaint(bench):
    peer = await bench.connect()
    peer.sock.close()

    assert await complaints(bench, peer) == []


async def test_discovery_tells_of_targets_and_is_over_after_its_time(bench, clock):
    peer = await bench.open(None)
    await peer.say(
        pdu.TextRequest(initiator_task_tag=1, cmd_sn=1, data=format_text([("SendTargets", "All")]))
    )
    answer = await peer.hear()
    assert answer.data.split(b"\0")[:2] == [
        b"TargetName=" + f"{PREFIX}:blank".encode(), b"TargetAddress=127.0.0.1:3260,1",
    ]  # fmt: skip
    began = trio.current_time()

    assert await peer.hung_up()

    assert trio.current_time() - began == pytest.approx(30.0, abs=0.5)


async def test_limits_are_those_that_control_gave(nursery, tmp_path, clock):
    bench = await set_up(nursery, tmp_path, attrs.evolve(DEFAULT, login_seconds=3.0))
    peer = await bench.connect()
    began = trio.current_time()

    assert await peer.hung_up()

    assert trio.current_time() - began == pytest.approx(3.0, abs=0.3)


# -- authentication ------------------------------------------------------------------------------------------


async def challenged(bench):
    """A peer that has our challenge, and has not answered it."""
    bench.control.auth = AuthDescriptor(required=True)
    peer = await bench.connect()
    await peer.say(peer.login_request(peer.names("blank") | {"AuthMethod": "CHAP"}, csg=0, nsg=None))
    await peer.hear()
    await peer.say(peer.login_request({"CHAP_A": "7"}, csg=0, nsg=None))
    assert b"CHAP_C=" in (await peer.hear()).data
    return peer


PROOF = {"CHAP_N": "ann", "CHAP_R": "0x" + "00" * 32}


async def test_who_does_not_answer_the_challenge_is_cut_off_at_the_deadline_of_logins(bench, clock):
    began = trio.current_time()
    peer = await challenged(bench)

    assert await peer.hung_up()

    assert trio.current_time() - began == pytest.approx(15.0, abs=0.5)
    assert await complaints(bench, peer) == ["login timeout"]


async def test_a_control_that_dies_while_it_judges_lets_nobody_in(bench):
    """RFC 7143 §11.13.5: 0301h, come again; not a session, not a success."""
    bench.control.silent.add("check_secret")
    peer = await challenged(bench)
    await peer.say(peer.login_request(PROOF, csg=0, nsg=3))
    await trio.sleep(0.01)

    bench.line.close()
    answer = await peer.hear()

    assert (answer.status, answer.transit) == (0x0301, False)
    assert await peer.hung_up()
    assert bench.worker.live == {}


async def test_and_one_that_lives_lets_the_same_in(bench):
    """Or else the two above would prove nothing."""
    peer = await challenged(bench)

    await peer.say(peer.login_request(PROOF, csg=0, nsg=3))

    assert (await peer.hear()).status == 0
    await bench.until(lambda: bench.worker.live)


CHALLENGES = """
import sys
from scsipub.iscsi.chap_exchange import ChapExchange
from scsipub.iscsi.chap import STRONGEST_FIRST
from scsipub.iscsi.login_records import AuthPolicy
from scsipub.worker.main import Worker

worker, policy, out = Worker(), AuthPolicy(required=True, algorithms=STRONGEST_FIRST), bytearray()
for _ in range(25_000):
    answers, _ = ChapExchange(policy, worker.random).receive_untrusted({"CHAP_A": "7"})
    told = dict(answers)
    out += bytes([int(told["CHAP_I"])]) + bytes.fromhex(told["CHAP_C"][2:])
sys.stdout.buffer.write(out)
"""


def test_no_two_of_a_hundred_thousand_challenges_of_four_workers_are_alike():
    """Four processes that begin at once; the identifiers are as random as the challenges."""
    here = Path(__file__).parents[2]
    words = [sys.executable, "-c", CHALLENGES]
    workers = [subprocess.Popen(words, stdout=subprocess.PIPE, cwd=here) for _ in range(4)]
    told = b"".join(worker.communicate(timeout=60)[0] for worker in workers)

    assert [worker.returncode for worker in workers] == [0] * 4
    each = [told[at : at + 33] for at in range(0, len(told), 33)]
    assert len(each) == 100_000
    assert len({one[1:] for one in each}) == 100_000
    often = Counter(one[0] for one in each)
    assert len(often) == 256
    assert max(often.values()) < 2 * 100_000 / 256
