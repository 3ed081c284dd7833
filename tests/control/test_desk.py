"""What workers ask control, and how it answers: logins, rivals, hand-on, news."""

import socket

import attrs
import pytest
import trio

from scsipub.config import ChapUser, LunConfig, TargetConfig
from scsipub.iscsi.chap import digest
from scsipub.iscsi.constants import ChapAlgorithm, LoginStatus
from scsipub.limits import DEFAULT
from supervisor.channel import CallError
from tests.support.control_parts import NAME, keep

SOURCE = "192.0.2.1"
SHARED = "iqn.2025-01.pub.scsipub:cluster"
LOCKED = "iqn.2025-01.pub.scsipub:locked"
PICKY = "iqn.2025-01.pub.scsipub:picky"
LUNS = (LunConfig(lun=0, size=1 << 20),)
USER = ChapUser(user="ann", secret="a secret of 16 c")


@pytest.fixture
async def house(nursery, tmp_path):
    targets = (
        TargetConfig(name=SHARED, luns=LUNS, shared=True),
        TargetConfig(name=LOCKED, luns=LUNS, users=(USER,)),
        TargetConfig(name=PICKY, luns=LUNS, initiators=("iqn.1993-08.org.debian:*",)),
    )
    limits = attrs.evolve(DEFAULT, pool_reserve_bytes=0, sessions_per_source=3)
    return await keep(nursery, tmp_path / "state", targets=targets, limits=limits)


async def admitted(house, target="blank", *, worker=0, source=SOURCE, told=True, **fields):
    """A session, as far as control knows: (connection, verdict)."""
    guest = house.arrives(source, worker)
    far = house.workers[worker]
    verdict = await far.call("admit", house.ask(guest, target, **fields))
    if told and verdict["target"] is not None:
        session = verdict["target"]["session"]
        await far.tell("opened", connection=guest, session=session, discovery=False)
        far.alive[session] = True
    return guest, verdict


def session_of(verdict):
    return verdict["target"]["session"]


def overlay_of(verdict):
    return verdict["target"]["luns"][0]["overlay"]


async def ends(house, guest, verdict, *, worker=0, written=True):
    far = house.workers[worker]
    await far.tell("ended", session=session_of(verdict), written=written)
    await far.tell("closed", connection=guest)


# -- resolve -------------------------------------------------------------------------------------------------


async def test_discovery_needs_no_target(house):
    guest = house.arrives(SOURCE)

    verdict = await house.workers[0].call("resolve", house.ask(guest, "", discovery=True))

    assert not any(verdict[key] for key in ("target", "refuse", "redirect", "hand_on"))


async def test_a_known_target_is_described_and_nothing_is_claimed(house):
    guest = house.arrives(SOURCE)

    verdict = await house.workers[0].call("resolve", house.ask(guest, "blank"))

    assert verdict["target"]["name"] == house.target("blank")
    assert not house.control.placement.records


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("nosuch", {}, LoginStatus.NOT_FOUND),
        ("image.nosuch", {}, LoginStatus.NOT_FOUND),
        (PICKY, {"initiator": "iqn.2000-01.org.other:a"}, LoginStatus.AUTHORIZATION_FAILURE),
        ("blank", {"tsih": 77}, LoginStatus.SESSION_DOES_NOT_EXIST),
    ],
)
async def test_what_cannot_be_is_refused(house, target, fields, status):
    guest = house.arrives(SOURCE)

    verdict = await house.workers[0].call("resolve", house.ask(guest, target, **fields))

    assert verdict["refuse"] == status


async def test_who_is_on_the_list_may_pass(house):
    guest = house.arrives(SOURCE)

    verdict = await house.workers[0].call("resolve", house.ask(guest, PICKY))

    assert verdict["refuse"] is None


async def test_a_second_connection_of_a_session_is_one_too_many(house):
    """RFC 7143 §11.13.5: MaxConnections is 1."""
    await admitted(house, tsih=7)
    guest = house.arrives(SOURCE)

    verdict = await house.workers[0].call("resolve", house.ask(guest, "blank", tsih=7))

    assert verdict["refuse"] == LoginStatus.TOO_MANY_CONNECTIONS


async def test_a_shared_target_belongs_to_the_worker_that_asked_first(house):
    first, second = house.arrives(SOURCE, 1), house.arrives(SOURCE, 0)

    here = await house.workers[1].call("resolve", house.ask(first, SHARED))
    there = await house.workers[0].call("resolve", house.ask(second, SHARED))

    assert here["target"]["name"] == SHARED
    assert there["hand_on"] == 1


async def test_a_shared_target_finds_a_new_owner_when_the_old_one_is_dead(house):
    await house.workers[1].call("resolve", house.ask(house.arrives(SOURCE, 1), SHARED))
    await house.dies(1)

    verdict = await house.workers[0].call("resolve", house.ask(house.arrives(SOURCE, 0), SHARED))

    assert verdict["target"]["name"] == SHARED


# -- admit ---------------------------------------------------------------------------------------------------


async def test_every_session_of_a_disposable_target_has_a_disk_of_its_own(house):
    _, one = await admitted(house)
    _, other = await admitted(house, initiator="iqn.2000-01.org.other:b")

    assert overlay_of(one) != overlay_of(other)
    assert one["target"]["luns"][0]["uuid"] != other["target"]["luns"][0]["uuid"]


async def test_who_comes_back_within_the_grace_gets_the_same_disk(house):
    guest, one = await admitted(house)
    await ends(house, guest, one)

    _, again = await admitted(house, worker=1)

    assert overlay_of(again) == overlay_of(one)
    assert again["target"]["luns"][0]["uuid"] == one["target"]["luns"][0]["uuid"]
    assert again["target"]["luns"][0]["adopt"]
    assert session_of(again) != session_of(one)


async def test_files_are_looked_for_only_where_something_was_written(house):
    guest, one = await admitted(house)
    await ends(house, guest, one, written=False)

    _, again = await admitted(house)

    assert overlay_of(again) == overlay_of(one)
    assert not again["target"]["luns"][0]["adopt"]


async def test_who_comes_from_elsewhere_gets_another_disk(house):
    guest, one = await admitted(house)
    await ends(house, guest, one)

    _, other = await admitted(house, source="192.0.2.2")

    assert overlay_of(other) != overlay_of(one)


async def test_a_live_session_keeps_its_disk_from_its_own_twin(house):
    _, one = await admitted(house)

    _, twin = await admitted(house)

    assert overlay_of(twin) != overlay_of(one)


async def test_a_dying_session_is_waited_for(house, autojump_clock):
    """An initiator that comes back at once is faster than the news of its end."""
    guest, one = await admitted(house)
    house.workers[0].alive.clear()  # its peer has hung up
    verdicts = []

    async def comes_back():
        verdicts.append((await admitted(house, worker=1))[1])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(comes_back)
        await trio.sleep(1)
        assert not verdicts
        await ends(house, guest, one)

    assert overlay_of(verdicts[0]) == overlay_of(one)


async def test_a_dying_session_is_not_waited_for_for_ever(house, autojump_clock):
    _, one = await admitted(house)
    house.workers[0].alive.clear()
    began = trio.current_time()

    _, other = await admitted(house, worker=1)

    assert trio.current_time() - began == pytest.approx(3.0, abs=0.1)
    assert overlay_of(other) != overlay_of(one)


async def test_a_login_in_progress_is_waited_for_until_it_is_open_and_no_longer(house, autojump_clock):
    guest, one = await admitted(house, told=False)
    began = trio.current_time()

    async def opens():
        await trio.sleep(0.5)
        house.workers[0].alive[session_of(one)] = True
        await house.workers[0].tell("opened", connection=guest, session=session_of(one), discovery=False)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(opens)
        _, other = await admitted(house, worker=1)

    assert overlay_of(other) != overlay_of(one)
    assert trio.current_time() - began == pytest.approx(0.5, abs=0.1)


async def test_a_connection_that_closed_while_it_waited_claims_nothing(house, autojump_clock):
    """Nobody would ever release what it was given."""
    await admitted(house)
    house.workers[0].alive.clear()
    guest = house.arrives(SOURCE, 1)
    ask = house.ask(guest, "blank")
    verdicts = []

    async def asks():
        verdicts.append(await house.workers[1].call("admit", ask))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(asks)
        await trio.sleep(1)
        await house.workers[1].tell("closed", connection=guest)

    assert verdicts[0]["refuse"] == LoginStatus.TARGET_ERROR
    assert len(house.control.placement.records) == 1


async def test_of_many_sessions_of_one_name_only_some_are_asked(house):
    source = "127.0.0.1"
    for _ in range(30):
        await admitted(house, source=source)
    house.workers[0].asked.clear()

    await admitted(house, source=source)

    assert 1 <= len(house.workers[0].asked) <= 8


async def test_who_proved_who_it_is_replaces_its_own_session(house, autojump_clock):
    """RFC 7143 §6.3.5: session reinstatement."""
    guest, one = await admitted(house, LOCKED, principal="ann")
    house.workers[0].answers["kick"] = True

    async def dies_of_it():
        while not house.workers[0].asked:
            await trio.sleep(0.01)
        await ends(house, guest, one)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dies_of_it)
        _, again = await admitted(house, LOCKED, worker=1, principal="ann")

    assert house.workers[0].asked == [("kick", {"id": session_of(one)})]
    assert overlay_of(again) == overlay_of(one)


@pytest.mark.parametrize(
    "fields",
    [
        {"principal": "bob"},
        {"principal": "ann", "isid": "800000000002"},
        {"principal": "ann", "portal": 1},
    ],
)
async def test_another_principal_another_port_or_another_portal_replaces_nobody(house, fields):
    """RFC 7143 §4.4.3.1: one ISID may have a session with each portal group."""
    await admitted(house, LOCKED, principal="ann")

    await admitted(house, LOCKED, worker=1, **fields)

    assert [method for method, _ in house.workers[0].asked] == ["still_there"]


async def test_on_an_anonymous_target_nobody_is_replaced_who_still_answers(house):
    await admitted(house)

    await admitted(house, worker=1)

    ((method, params),) = house.workers[0].asked
    assert method == "still_there"
    assert params["probe"]


async def test_who_replaces_a_session_is_told_so_and_who_does_not_is_not(house, autojump_clock):
    """SPC-4 annex D: 29h/07h for its first command; only for who has replaced itself."""
    _, first = await admitted(house, LOCKED, principal="ann")
    guest, one = await admitted(house, LOCKED, principal="ann", isid="800000000002")
    house.workers[0].answers["kick"] = True

    async def dies_of_it():
        while ("kick", {"id": session_of(one)}) not in house.workers[0].asked:
            await trio.sleep(0.01)
        await ends(house, guest, one)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dies_of_it)
        _, again = await admitted(house, LOCKED, principal="ann", isid="800000000002")

    told = [verdict["target"]["reinstated"] for verdict in (first, one, again)]
    assert told == [False, False, True]


async def test_nobody_is_let_in_before_the_session_that_it_replaces_has_ended(house, autojump_clock):
    """RFC 7143 §6.3.5: its tasks end first; one that hangs in the disk might write behind the new ones."""
    house.workers[0].answers["kick"] = True
    guest, one = await admitted(house, LOCKED, principal="ann")
    began = trio.current_time()

    _, refused = await admitted(house, LOCKED, principal="ann")
    waited = trio.current_time() - began
    await ends(house, guest, one)
    _, again = await admitted(house, LOCKED, principal="ann")

    assert refused["refuse"] == LoginStatus.SERVICE_UNAVAILABLE
    assert waited == pytest.approx(3.0, abs=0.1)
    assert again["refuse"] is None


async def test_a_workers_word_does_not_open_a_target_that_wants_a_secret(house):
    """Strangers talk to workers: control has seen the response itself, for this target and this user."""
    far = house.workers[0]
    guest = house.arrives(SOURCE)
    ask = house.ask(guest, LOCKED) | {"principal": "ann"}

    async def shows(target, secret):
        said = {"algorithm": 5, "identifier": 1, "challenge": "00" * 32, "mutual": None}
        right = digest(ChapAlgorithm.MD5, 1, secret, bytes(32)).hex()
        return await far.call(
            "check_secret", {"connection": guest, "target": target, "user": "ann", "response": right} | said
        )

    verdicts = [await far.call("admit", ask)]
    assert not (await shows(LOCKED, b"another secret 1"))["ok"]
    verdicts.append(await far.call("admit", ask))
    assert (await shows(LOCKED, USER.secret.encode()))["ok"]
    verdicts.append(await far.call("admit", ask | {"principal": "bob"}))
    verdicts.append(await far.call("admit", ask | {"connection": house.arrives(SOURCE)}))
    assert [verdict["refuse"] for verdict in verdicts] == [LoginStatus.AUTHENTICATION_FAILURE] * 4

    assert (await far.call("admit", ask))["target"] is not None


async def test_two_hosts_of_one_name_do_not_replace_each_other_for_ever(house, autojump_clock):
    house.workers[0].answers["kick"] = True
    for _ in range(4):
        await admitted(house, LOCKED, principal="ann")
        for record in house.control.placement.records.values():
            record.open = True

    _, refused = await admitted(house, LOCKED, principal="ann")

    assert refused["refuse"] == LoginStatus.OUT_OF_RESOURCES


async def test_a_source_has_so_many_anonymous_sessions_and_no_more(house):
    for n in range(3):
        _, verdict = await admitted(house, initiator=f"{NAME}{n}", told=n < 2)
        assert verdict["refuse"] is None

    _, one_too_many = await admitted(house, initiator="iqn.2000-01.org.other:z")
    _, elsewhere = await admitted(house, source="192.0.2.2")
    _, with_a_name = await admitted(house, LOCKED, principal="ann")
    _, ourselves = await admitted(house, source="127.0.0.1")

    assert one_too_many["refuse"] == LoginStatus.OUT_OF_RESOURCES
    assert [v["refuse"] for v in (elsewhere, with_a_name, ourselves)] == [None] * 3


async def test_when_the_file_system_is_full_no_new_disks_are_given(house):
    house.control.config = attrs.evolve(
        house.control.config, limits=attrs.evolve(DEFAULT, pool_reserve_bytes=1 << 60)
    )
    _, refused = await admitted(house)

    assert refused["refuse"] == LoginStatus.OUT_OF_RESOURCES


async def test_an_image_that_went_away_during_the_login_is_not_found(house):
    guest = house.arrives(SOURCE)

    verdict = await house.workers[0].call("admit", house.ask(guest, "image.gone"))

    assert verdict["refuse"] == LoginStatus.NOT_FOUND


async def test_sessions_of_a_shared_target_see_one_disk(house):
    _, one = await admitted(house, SHARED)
    _, other = await admitted(house, SHARED, source="192.0.2.2")

    assert overlay_of(one) == overlay_of(other)
    assert one["target"]["shared"]
    assert overlay_of(one) in house.control.shared_overlays()


# -- the death of a worker -----------------------------------------------------------------------------------


async def test_a_dead_workers_disks_wait_for_their_initiators(house):
    _, one = await admitted(house)

    await house.dies(0)
    _, again = await admitted(house, worker=1)

    assert overlay_of(again) == overlay_of(one)
    assert again["target"]["luns"][0]["adopt"]


async def test_a_dead_workers_connections_are_no_longer_counted(house):
    await admitted(house)
    house.arrives(SOURCE)

    await house.dies(0)

    assert not house.control.guests
    assert house.control.sources.unauthenticated == 0
    assert house.control.sources.known[SOURCE].idle


# -- hand-on -------------------------------------------------------------------------------------------------


def arrival(guest):
    return {
        "id": guest, "source": SOURCE, "source_port": 1, "local": "127.0.0.1", "local_port": 3260,
        "portal": 0, "tls": False, "accepted": 0.0, "head": "aGVhZA==", "answered": 1,
    }  # fmt: skip


async def test_a_connection_is_handed_on_with_everything_that_was_read(house):
    guest = house.arrives(SOURCE, 0)
    ours, theirs = socket.socketpair()

    with ours, theirs:
        params = {"worker": 1, "arrival": arrival(guest)}
        await house.workers[0].call("hand_on", params, fds=[theirs.fileno()])
        theirs.close()
        ((said, sock),) = house.workers[1].taken
        with sock:
            sock.send(b"here")
            assert ours.recv(10) == b"here"

    assert arrival(guest).items() <= said.items()
    assert house.control.handed_on == 1
    assert house.control.guests[guest].worker == house.workers[1].place
    assert house.control.load == {(0, 1): -1, (1, 1): 1}  # ``arrives`` does not count


async def test_an_owner_that_is_away_takes_nothing_and_the_login_is_refused(house):
    guest = house.arrives(SOURCE, 0)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(CallError) as refused:
        params = {"worker": 7, "arrival": arrival(guest)}
        await house.workers[0].call("hand_on", params, fds=[theirs.fileno()])

    assert refused.value.code == "owner_away"
    assert house.control.sources.unauthenticated == 0
    await house.workers[0].tell("closed", connection=guest)
    assert house.control.sources.unauthenticated == 0


async def test_an_owner_that_hangs_up_just_now_takes_nothing_either(house):
    guest = house.arrives(SOURCE, 0)
    house.workers[1].channel.close()
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(CallError):
        params = {"worker": 1, "arrival": arrival(guest)}
        await house.workers[0].call("hand_on", params, fds=[theirs.fileno()])

    assert not house.control.guests
    assert house.control.sources.unauthenticated == 0


# -- secrets -------------------------------------------------------------------------------------------------


async def test_an_unknown_user_and_an_unknown_target_are_refused_alike(house):
    """Nothing tells which of the two it was."""
    ask = {
        "algorithm": 5, "identifier": 1, "challenge": "00" * 32, "response": "00" * 16, "mutual": None,
    }  # fmt: skip
    answers = [
        await house.workers[0].call("check_secret", {"target": target, "user": user, **ask})
        for target, user in ((LOCKED, "ann"), (LOCKED, "nobody"), ("iqn.x", "ann"))
    ]

    assert not any(answer["ok"] for answer in answers)
    assert answers[0] == answers[1] == answers[2]


# -- news ----------------------------------------------------------------------------------------------------


async def test_a_connection_that_closes_before_it_logged_in_leaves_no_trace(house):
    guest = house.arrives(SOURCE)

    await house.workers[0].tell("closed", connection=guest)
    await house.workers[0].tell("closed", connection=guest)

    assert house.control.sources.unauthenticated == 0
    assert house.control.sources.known[SOURCE].unauthenticated == 0


async def test_a_login_that_was_admitted_and_then_failed_lets_go_of_its_disk(house):
    guest, verdict = await admitted(house, told=False)

    await house.workers[0].tell("closed", connection=guest)

    assert not house.control.placement.records
    _, again = await admitted(house)
    assert overlay_of(again) == overlay_of(verdict)


async def test_logins_are_counted(house):
    await admitted(house)

    assert house.control.logins == 1
    assert house.control.sources.known[SOURCE].sessions == 1


async def complain(house, kind, source=SOURCE, **fields):
    await house.workers[0].tell("complaint", kind=kind, source=source, why="because", session="x", **fields)


async def test_mistakes_are_counted_by_kind_and_punished(house):
    await complain(house, "header digest")

    assert house.control.complaints.counts == {"header digest": 1}
    assert house.control.sources.known[SOURCE].refused_until > 0
    assert house.said == [("header digest", {"source": SOURCE, "why": "because"})]


async def test_rejects_are_counted_and_not_punished(house):
    """The session lives on; a pause for its source would say otherwise."""
    await complain(house, "reject 0x05", count=12)

    assert house.control.complaints.counts == {"reject 0x05": 12}
    assert SOURCE not in house.control.sources.known


async def test_refused_logins_are_counted_by_status_and_not_punished(house):
    await complain(house, "login refused", status=0x0203)
    await complain(house, "login refused", status=0x0200)

    assert house.control.login_failures == 2
    assert house.control.complaints.counts == {"login refused 0x0203": 1, "login refused 0x0200": 1}
    assert SOURCE not in house.control.sources.known


async def test_a_crash_is_counted_punished_longer_and_told_with_its_pdu(house):
    await complain(house, "header digest")
    before = house.control.sources.known[SOURCE].refused_until
    await complain(house, "crash", pdu="01" * 48)

    assert house.control.crashes == 1
    assert house.control.sources.known[SOURCE].refused_until > before + 60
    assert house.said[-1] == ("crash", {"source": SOURCE, "why": "because", "pdu": "01" * 48})


async def test_every_unknown_target_of_a_source_is_told_once(house):
    for target in ("no target x", "no target y", "no target x"):
        await house.workers[0].tell(
            "complaint", kind="login refused", source=SOURCE, why=target, session="x", status=0x0203
        )

    assert [fields["why"] for _, fields in house.said] == ["no target x", "no target y"]
