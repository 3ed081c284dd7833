"""Rented targets in control: their lives, and what happens when something fails in the middle."""

import os
import statistics
from datetime import timedelta
from time import perf_counter

import attrs
import pytest
import trio

from scsipub.control import changes as changes_room
from scsipub.control import making
from scsipub.control import rentals as room
from scsipub.control import rented_disks as disks_room
from scsipub.control.orders import LunWish, Wish
from scsipub.control.resumer import resume_all
from scsipub.iscsi.chap import digest
from scsipub.iscsi.constants import ChapAlgorithm, LoginStatus
from scsipub.limits import DEFAULT
from scsipub.storage.files import remember_failure
from scsipub.store import journal, reservations, targets, tenants
from scsipub.store.errors import Conflict, Exhausted, Invalid, NotFound, StoreUnavailable
from scsipub.store.records import TargetState, UnitState
from scsipub.store.store import open_store
from scsipub.tiers import Tier
from supervisor.channel import CallError
from tests.support.control_parts import keep

MIB = 1 << 20
HOME = Tier(name="home", allocation_budget=MIB, persistent=True, targets=2, sessions=2)
WISH = Wish(tenant="ada", luns=(LunWish(size=MIB), LunWish(size=2 * MIB)))
PORT = {"name": "iqn.2000-01.test:a", "isid": None, "principal": "ada", "target_port": None}
STATE = {
    "generation": 1,
    "kind": None,
    "holder": None,
    "aptpl": False,
    "registrations": [],
    "action": "REGISTER",
    "by": PORT,
}


@pytest.fixture
async def house(nursery, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    opened = open_store(None, state, b"i" * 32)
    opened.engine.transact(tenants.put_tier, HOME)
    opened.engine.transact(tenants.create_tenant, "ada", "home", room.now(), os.urandom)
    limits = attrs.evolve(DEFAULT, pool_reserve_bytes=0)
    made = await keep(nursery, state, opened=opened, limits=limits)
    for worker in made.workers:
        worker.answers |= {"release": [], "kick": True, "dismiss": False, "grow_unit": False}
    yield made
    opened.engine.close()


@pytest.fixture
def rentals(house):
    return house.control.rentals


@pytest.fixture
def overlays(house):
    return lambda: {file.name for file in house.control.config.overlays_dir.glob("*.*")}


def files_of(target):
    return {f"{unit.overlay}.{part}" for unit in target.units for part in ("data", "map")}


async def restarted(rentals):
    """What the next daemon would know."""
    rentals.known, rentals.accounts, rentals.kept, rentals.abandoned = {}, {}, {}, set()
    await resume_all(rentals)


async def logs_in(house, rented, worker=0, **fields):
    """Resolve and admit; the verdict."""
    guest = house.arrives("192.0.2.1", worker)
    far = house.workers[worker]
    ask = house.ask(guest, rented.target.id, principal="ada", **fields)
    verdict = await far.call("resolve", ask)
    if verdict["target"] is None:
        return verdict
    verdict = await far.call("admit", ask)
    if verdict["target"] is not None:
        session = verdict["target"]["session"]
        await far.tell("opened", connection=guest, session=session, discovery=False)
    return verdict


# -- making --------------------------------------------------------------------------------------------------


async def test_a_target_is_made_with_its_disks_before_anybody_hears_of_it(house, rentals, overlays):
    rented = await rentals.create(WISH)

    assert rented.target.state is TargetState.ACTIVE
    assert overlays() == files_of(rented.target)
    assert await house.control.store.call(targets.get, rented.target.id) == rented.target
    assert rentals.abandoned == set()


async def test_a_tenant_has_no_more_targets_than_its_tier_allows(rentals, overlays):
    for _ in range(2):
        await rentals.create(WISH)
    before = overlays()

    with pytest.raises(Exhausted):
        await rentals.create(WISH)
    await rentals.tick()

    assert overlays() == before


async def test_a_disk_that_cannot_be_made_leaves_no_target(house, rentals, overlays, monkeypatch):
    def full(paths, sectors, base):
        if str(paths.id).endswith("-1"):
            raise OSError(28, "No space left on device")
        create(paths, sectors, base)

    create = disks_room.create_durable
    monkeypatch.setattr(disks_room, "create_durable", full)
    with pytest.raises(OSError, match="No space"):
        await rentals.create(WISH)
    await rentals.tick()

    assert overlays() == set()
    assert await house.control.store.call(targets.everything) == ()
    assert rentals.known == {} == rentals.accounts


async def test_who_hangs_up_while_a_target_is_made_leaves_none(house, rentals, overlays, monkeypatch):
    with trio.CancelScope() as scope:
        make = rentals.disks.make
        monkeypatch.setattr(
            rentals.disks, "make", lambda target: (make(target), trio.from_thread.run_sync(scope.cancel))
        )
        await rentals.create(WISH)
    assert scope.cancelled_caught
    await rentals.tick()

    assert overlays() == set()
    assert rentals.known == {}


async def test_a_commit_whose_outcome_is_unknown_is_taken_back(house, rentals, overlays, monkeypatch):
    call = house.control.store.call

    async def lost(work, *args, **kwargs):
        result = await call(work, *args, **kwargs)
        if work is making.activate:
            raise StoreUnavailable("gone", unknown=True)
        return result

    monkeypatch.setattr(house.control.store, "call", lost)
    with pytest.raises(StoreUnavailable):
        await rentals.create(WISH)
    await rentals.tick()

    assert overlays() == set()
    assert await call(targets.everything) == ()


# -- logins --------------------------------------------------------------------------------------------------


async def test_a_worker_is_told_all_it_needs_and_no_secret(house, rentals):
    rented = await rentals.create(WISH)

    verdict = await logs_in(house, rented)

    assert [lun["uuid"] for lun in verdict["target"]["luns"]] == [unit.id for unit in rented.target.units]
    assert all(lun["persistent"] for lun in verdict["target"]["luns"])
    assert verdict["target"]["auth"]["required"]
    assert rented.account.secret not in str(verdict)


@pytest.mark.parametrize("right", [True, False])
async def test_the_secret_is_opened_to_check_a_response(house, rentals, right):
    rented = await rentals.create(WISH)
    secret = rented.account.secret if right else "x" * 16
    challenge = bytes(32)
    response = digest(ChapAlgorithm.SHA256, 1, secret.encode(), challenge)

    answer = await house.workers[0].call(
        "check_secret",
        {
            "target": rentals.name(rented.target.id),
            "user": "ada",
            "algorithm": 7,
            "identifier": 1,
            "challenge": challenge.hex(),
            "response": response.hex(),
            "mutual": None,
        },
    )

    assert answer["ok"] is right


async def test_an_unknown_user_takes_as_long_as_a_wrong_secret(house, rentals):
    """Neither the answer nor the clock tells which of the two it was: medians of 1000 each differ by
    less than a tenth.  A second and a third look, because this machine has other work."""
    rented = await rentals.create(WISH)
    other = await rentals.create(WISH)
    said = {"algorithm": 8, "identifier": 1, "challenge": "00" * 32, "response": "00" * 32, "mutual": None}
    ours, theirs = rented.account.user, other.account.user
    name = house.target(rented.target.id)
    asks = [{**said, "target": name, "user": user} for user in (ours, "nobody", theirs + "x")]
    ratios = []
    for _ in range(3):
        took = [[], [], []]
        for _ in range(1000):
            for ask, times in zip(asks, took, strict=True):
                began = perf_counter()
                answer = house.control.desk.check_secret(ask, [])
                times.append(perf_counter() - began)
                assert not any(answer.values())
        medians = [statistics.median(times) for times in took]
        ratios.append(max(medians) / min(medians))
        if ratios[-1] < 1.1:
            return
    raise AssertionError(f"it can be told apart: {ratios}")


async def test_a_name_that_never_was_and_one_that_is_gone_are_answered_alike(house, rentals):
    """RFC 7143 §11.13.5: 0203h, and not a byte more."""
    rented = await rentals.create(WISH)
    await rentals.destroy(rented.target.id)
    never = "a" * len(rented.target.id)

    gone, unknown = [
        await house.workers[0].call("resolve", house.ask(house.arrives("192.0.2.1"), id))
        for id in (rented.target.id, never)
    ]

    assert gone["refuse"] == LoginStatus.NOT_FOUND
    assert {**gone, "why": gone["why"].replace(rented.target.id, never)} == unknown


async def test_the_second_session_goes_to_the_owner(house, rentals):
    rented = await rentals.create(WISH)
    await logs_in(house, rented, worker=0)

    assert (await logs_in(house, rented, worker=1))["hand_on"] == 0


async def test_as_many_sessions_as_the_tier_allows(house, rentals):
    rented = await rentals.create(WISH)
    verdicts = [await logs_in(house, rented, initiator=f"iqn.2000-01.x:{n}") for n in range(3)]

    assert [v["refuse"] for v in verdicts] == [None, None, LoginStatus.OUT_OF_RESOURCES]


async def test_a_tier_may_ask_for_tls(house, rentals):
    await house.control.store.call(tenants.put_tier, attrs.evolve(HOME, tls_required=True))
    rented = await rentals.create(WISH)

    assert (await logs_in(house, rented))["refuse"] == LoginStatus.AUTHORIZATION_FAILURE
    assert (await logs_in(house, rented, tls=True))["target"] is not None


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (TargetState.SUSPENDED, LoginStatus.AUTHORIZATION_FAILURE),
        (TargetState.EXPIRED, LoginStatus.AUTHORIZATION_FAILURE),
        (TargetState.OFFLINE, LoginStatus.SERVICE_UNAVAILABLE),
        (TargetState.DELETING, LoginStatus.NOT_FOUND),
        (TargetState.CREATING, LoginStatus.NOT_FOUND),
    ],
)
async def test_a_target_that_does_not_serve_says_why_not(house, rentals, state, status):
    rented = await rentals.create(WISH)
    rentals.known[rented.target.id] = attrs.evolve(rented.target, state=state)

    assert (await logs_in(house, rented))["refuse"] == status


async def test_nobody_hears_of_a_rented_target_in_discovery(house, rentals):
    rented = await rentals.create(WISH)

    assert rentals.name(rented.target.id) not in house.control.catalogue.names("iqn.2000-01.x:a")


# -- ends ----------------------------------------------------------------------------------------------------


async def test_a_target_that_is_destroyed_ends_its_sessions_first(house, rentals, overlays):
    rented = await rentals.create(WISH)
    verdict = await logs_in(house, rented)
    far, session = house.workers[0], verdict["target"]["session"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rentals.destroy, rented.target.id)
        with trio.fail_after(5):
            while not any(method == "kick" for method, _ in far.asked):
                await trio.sleep(0.01)
        assert overlays() == files_of(rented.target)
        await far.tell("ended", session=session, written=True)

    assert ("release", {"target": rentals.name(rented.target.id)}) in far.asked
    assert overlays() == set()
    with pytest.raises(NotFound):
        rentals.find(rented.target.id)


async def test_another_tenants_target_is_not_there(rentals):
    rented = await rentals.create(WISH)

    assert rentals.find(rentals.name(rented.target.id)) == rented.target
    with pytest.raises(NotFound):
        rentals.find(rented.target.id, "somebody else")


async def test_time_suspends_and_then_removes(house, rentals, overlays, monkeypatch):
    rented = await rentals.create(attrs.evolve(WISH, lifetime_seconds=60.0))
    made = rented.target.created

    for after, state in [(59, TargetState.ACTIVE), (60, TargetState.EXPIRED), (61, TargetState.EXPIRED)]:
        monkeypatch.setattr(room, "now", lambda after=after: made + timedelta(seconds=after))
        await rentals.tick()
        assert rentals.find(rented.target.id).state is state
    over = 60 + HOME.expiry_grace_seconds
    monkeypatch.setattr(room, "now", lambda: made + timedelta(seconds=over))
    await rentals.tick()

    assert rentals.known == {}
    assert overlays() == set()
    told = await house.control.store.call(journal.events, target_id=rented.target.id)
    assert [e.kind for e in told.items] == [
        "target.deleting",
        "target.expired",
        "target.expiring",
        "target.created",
    ]


async def test_what_has_expired_is_not_resumed(rentals, monkeypatch):
    rented = await rentals.create(attrs.evolve(WISH, lifetime_seconds=60.0))
    monkeypatch.setattr(room, "now", lambda: rented.target.created + timedelta(seconds=60))
    await rentals.tick()

    with pytest.raises(Conflict, match="over"):
        await rentals.resume(rented.target.id)


async def test_a_target_whose_disk_is_damaged_is_not_resumed(house, rentals):
    rented = await rentals.create(WISH)
    await rentals.leave(rented.target.id, TargetState.SUSPENDED, "unpaid")
    (house.control.config.overlays_dir / f"{rented.target.units[1].overlay}.map").unlink()

    with pytest.raises(Conflict, match=r"LUN 1: .* is missing"):
        await rentals.resume(rented.target.id)
    assert rentals.find(rented.target.id).reason == "unpaid"


async def test_a_medium_that_fails_takes_its_target_offline_until_somebody_has_looked(house, rentals):
    """Also across a restart, and also when its files look as they should."""
    rented = await rentals.create(WISH)
    remember_failure(rentals.disks.paths(rented.target.units[1]), "fdatasync: Input/output error")

    await rentals.tick()
    await restarted(rentals)

    found = rentals.find(rented.target.id)
    assert found.state is TargetState.OFFLINE
    assert found.reason.startswith("LUN 1: its medium has failed")
    assert found.reason.endswith("fdatasync: Input/output error")
    verdict = await logs_in(house, rented)
    assert verdict["refuse"] == LoginStatus.SERVICE_UNAVAILABLE
    with pytest.raises(Conflict, match="nobody has looked"):
        await rentals.resume(rented.target.id)

    done = await rentals.resume(rented.target.id, looked=True)

    assert done.state is TargetState.ACTIVE
    await rentals.tick()
    await restarted(rentals)
    assert rentals.find(rented.target.id).state is TargetState.ACTIVE


# -- longer disks --------------------------------------------------------------------------------------------


async def test_a_unit_gets_longer(house, rentals):
    rented = await rentals.create(WISH)

    grown = await rentals.changes.resize(rented.target.id, 1, 4 * MIB)

    assert [unit.size for unit in grown.units] == [MIB, 4 * MIB]
    assert [rentals.disks.trouble(unit) for unit in grown.units] == ["", ""]
    verdict = await logs_in(house, rented)
    assert [lun["size"] for lun in verdict["target"]["luns"]] == [MIB, 4 * MIB]


@pytest.mark.parametrize("size", [2 * MIB, 2 * MIB - 512, 2 * MIB + 1, 1 << 60])
async def test_a_unit_gets_neither_shorter_nor_longer_than_its_tier_allows(rentals, size):
    rented = await rentals.create(WISH)

    with pytest.raises(Invalid):
        await rentals.changes.resize(rented.target.id, 1, size)
    assert rentals.find(rented.target.id) == rented.target


async def test_nobody_logs_in_while_a_disk_gets_longer(house, rentals, monkeypatch):
    rented = await rentals.create(WISH)
    grow, met = rentals.disks.grow, []

    def slowly(target):
        met.append(trio.from_thread.run(logs_in, house, rented))
        grow(target)

    monkeypatch.setattr(rentals.disks, "grow", slowly)
    await rentals.changes.resize(rented.target.id, 0, 2 * MIB)

    assert {verdict["refuse"] for verdict in met} == {LoginStatus.SERVICE_UNAVAILABLE}
    assert (await logs_in(house, rented))["target"] is not None


async def test_a_disk_that_cannot_get_longer_takes_its_target_offline_until_it_can(rentals, monkeypatch):
    rented = await rentals.create(WISH)

    def full(target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as small:
        small.setattr(rentals.disks, "grow", full)
        found = await rentals.changes.resize(rented.target.id, 0, 2 * MIB)
    assert (found.state, "No space" in found.reason) == (TargetState.OFFLINE, True)

    found = await rentals.resume(rented.target.id)

    assert (found.state, found.units[0].size) == (TargetState.ACTIVE, 2 * MIB)
    assert rentals.disks.trouble(found.units[0]) == ""


async def test_a_growth_that_a_kill_interrupted_is_finished_at_the_next_start(house, rentals):
    rented = await rentals.create(WISH)
    unit = rented.target.units[0]
    await house.control.store.call(changes_room._resize, unit, 2 * MIB, room.now())

    await restarted(rentals)

    found = rentals.find(rented.target.id)
    assert (found.state, found.units[0].size) == (TargetState.ACTIVE, 2 * MIB)


# -- reservations --------------------------------------------------------------------------------------------


async def keeps(house, rented, generation, **state):
    name = house.control.rentals.name(rented.target.id)
    params = {"target": name, "lun": 0, "state": STATE | {"generation": generation} | state}
    return await house.workers[0].call("keep_reservations", params)


async def test_reservations_are_in_the_store_when_that_is_said(house, rentals):
    rented = await rentals.create(WISH)
    unit = rented.target.units[0].id

    for generation in (1, 2):
        assert await keeps(house, rented, generation)
        assert (await house.control.store.call(reservations.get, unit)).generation == generation

    verdict = await logs_in(house, rented)
    assert verdict["target"]["luns"][0]["reservations"]["generation"] == 2
    assert verdict["target"]["luns"][1]["reservations"] is None


@pytest.mark.parametrize("happened", [True, False])
async def test_a_commit_of_reservations_whose_outcome_is_unknown_is_looked_up(
    house, rentals, monkeypatch, happened
):
    rented = await rentals.create(WISH)
    call = house.control.store.call

    async def lost(work, *args, **kwargs):
        if work is not room._keep:
            return await call(work, *args, **kwargs)
        if happened:
            await call(work, *args, **kwargs)
        raise StoreUnavailable("gone", unknown=True)

    with monkeypatch.context() as lossy:
        lossy.setattr(house.control.store, "call", lost)
        if happened:
            assert await keeps(house, rented, 1)
        else:
            with pytest.raises(CallError, match="not_kept"):
                await keeps(house, rented, 1)

    assert await keeps(house, rented, 2)


async def test_each_change_of_rights_is_an_event_and_nothing_else_is(house, rentals):
    rented = await rentals.create(WISH)
    mine = {"port": PORT, "key": f"{0xA1:016x}", "all_target_ports": False}
    await keeps(house, rented, 1, registrations=[mine])
    await keeps(house, rented, 2, registrations=[mine])
    await keeps(house, rented, 2, registrations=[mine], kind=5, holder=PORT, action="RESERVE")

    page = await house.control.store.call(journal.events, target_id=rented.target.id)
    assert [event.text for event in page.items] == [
        "LUN 0: iqn.2000-01.test:a reserved write exclusive registrants only",
        "LUN 0: iqn.2000-01.test:a registered key 0xa1",
        f"target {rented.target.id} was made",
    ]


async def test_a_tenant_that_registers_without_end_forgets_only_its_own_events(house, rentals, monkeypatch):
    monkeypatch.setattr(room, "EVENTS_PER_TARGET", 5)
    rented, other = await rentals.create(WISH), await rentals.create(WISH)
    await keeps(house, other, 1, registrations=[{"port": PORT, "key": "1", "all_target_ports": False}])
    for n in range(1, 65):
        await keeps(
            house, rented, n, registrations=[{"port": PORT, "key": f"{n:x}", "all_target_ports": False}]
        )

    page = await house.control.store.call(journal.events, target_id=rented.target.id, limit=100)
    assert [event.kind for event in page.items] == ["reservation.registered"] * 5 + ["target.created"]
    page = await house.control.store.call(journal.events, target_id=other.target.id)
    assert len(page.items) == 2


# -- the next start ------------------------------------------------------------------------------------------


async def test_the_next_daemon_knows_all_that_this_one_knew(rentals):
    rented = await rentals.create(attrs.evolve(WISH, mutual=True, initiators=("iqn.2000-01.x:*",)))
    before = dict(rentals.known), dict(rentals.accounts)

    await restarted(rentals)

    assert (rentals.known, rentals.accounts) == before
    assert rentals.entry(rented.target.id).account("ada").secret == rented.account.secret.encode()


@pytest.mark.parametrize("state", [TargetState.CREATING, TargetState.DELETING])
async def test_what_was_not_finished_is_removed(house, rentals, overlays, state):
    rented = await rentals.create(WISH)
    row = f"UPDATE targets SET state = '{state}'"
    await house.control.store.call(lambda connection: connection.exec_driver_sql(row))

    await restarted(rentals)

    assert rentals.known == {}
    assert overlays() == set()
    assert await house.control.store.call(targets.everything) == ()
    with pytest.raises(NotFound):
        rentals.find(rented.target.id)


def gone(file):
    file.unlink()


def shorter(file):
    os.truncate(file, file.stat().st_size - 512)


def damaged(file):
    with file.open("r+b") as opened:
        opened.seek(20)
        opened.write(b"\xff")


@pytest.mark.parametrize(
    ("part", "harm", "why"),
    [
        ("data", gone, "missing"),
        ("map", gone, "missing"),
        ("data", shorter, "wrong length"),
        ("map", shorter, "wrong length"),
        ("map", damaged, "damaged header"),
    ],
)
async def test_a_disk_that_is_not_as_it_was_takes_its_target_offline_and_nothing_is_made_anew(
    house, rentals, overlays, part, harm, why
):
    rented = await rentals.create(WISH)
    file = house.control.config.overlays_dir / f"{rented.target.units[1].overlay}.{part}"
    kept = file.read_bytes()
    harm(file)
    before = overlays()

    await restarted(rentals)

    found = rentals.find(rented.target.id)
    assert found.state is TargetState.OFFLINE
    assert why in found.reason
    assert [unit.state for unit in found.units] == [UnitState.ACTIVE, UnitState.OFFLINE]
    assert overlays() == before

    file.write_bytes(kept)
    await restarted(rentals)

    found = rentals.find(rented.target.id)
    assert (found.state, found.reason) == (TargetState.ACTIVE, "")
    assert {unit.state for unit in found.units} == {UnitState.ACTIVE}


async def test_the_files_of_another_disk_are_refused(house, rentals):
    one, two = (await rentals.create(WISH)).target.units
    folder = house.control.config.overlays_dir
    (folder / f"{two.overlay}.map").write_bytes((folder / f"{one.overlay}.map").read_bytes())

    assert "another" in rentals.disks.trouble(two)


async def test_a_suspended_target_stays_suspended(rentals):
    rented = await rentals.create(WISH)
    await rentals.leave(rented.target.id, TargetState.SUSPENDED, "unpaid")

    await restarted(rentals)

    assert rentals.find(rented.target.id).state is TargetState.SUSPENDED


# -- the janitor ---------------------------------------------------------------------------------------------


async def test_the_janitor_leaves_rented_disks_alone_and_does_nothing_without_the_store(
    house, rentals, overlays, monkeypatch
):
    rented = await rentals.create(WISH)
    os.utime(house.control.config.overlays_dir, (0, 0))
    for file in overlays():
        os.utime(house.control.config.overlays_dir / file, (0, 0))
    rentals.known = {}

    assert (await house.control.janitor.run()).put_aside == []

    async def away(*args, **kwargs):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(house.control.store, "call", away)
    swept = await house.control.janitor.run()

    assert overlays() == files_of(rented.target)
    assert swept.doubts


# -- units that come and go ----------------------------------------------------------------------------------


async def test_a_unit_is_added_with_its_files_and_described_to_who_logs_in(house, rentals, overlays):
    rented = await rentals.create(WISH)

    done = await rentals.changes.add_lun(rented.target.id, LunWish(size=4 * MIB))

    assert [(unit.lun, unit.size) for unit in done.served] == [(0, MIB), (1, 2 * MIB), (2, 4 * MIB)]
    assert overlays() == files_of(done)
    verdict = await logs_in(house, rented)
    assert [lun["lun"] for lun in verdict["target"]["luns"]] == [0, 1, 2]
    assert await house.control.store.call(targets.get, done.id) == done


async def test_who_is_logged_in_hears_of_a_unit_and_of_its_end(house, rentals, overlays):
    """The owner of the target is asked, and the files go after it has let go of them."""
    rented = await rentals.create(WISH)
    await logs_in(house, rented)
    far = house.workers[0]
    far.answers |= {"add_unit": True, "remove_unit": True}

    done = await rentals.changes.add_lun(rented.target.id, LunWish(size=MIB))
    assert far.asked[-1][0] == "add_unit"
    assert far.asked[-1][1]["lun"]["uuid"] == done.units[2].id
    left = await rentals.changes.remove_lun(rented.target.id, 0)

    assert far.asked[-1] == ("remove_unit", {"target": rentals.name(done.id), "lun": 0})
    assert [unit.lun for unit in left.units] == [1, 2]
    assert overlays() == files_of(left)


async def test_the_lowest_free_number_is_given_and_the_tier_bounds_them(rentals):
    rented = await rentals.create(WISH)
    id = rented.target.id
    await rentals.changes.remove_lun(id, 0)

    assert [u.lun for u in (await rentals.changes.add_lun(id, LunWish(size=MIB))).served] == [0, 1]
    rentals.tiers["home"] = attrs.evolve(HOME, luns=2)
    with pytest.raises(Conflict, match="at most 2"):
        await rentals.changes.add_lun(id, LunWish(size=MIB))


async def test_a_unit_whose_making_was_interrupted_is_gone_after_the_next_start(house, rentals, overlays):
    rented = await rentals.create(WISH)
    before = overlays()
    unit = attrs.evolve(rented.target.units[0], id="ab" * 16, lun=5)
    await house.control.store.call(targets.add_unit, unit)
    rentals.disks.make_one(unit)

    await restarted(rentals)

    assert rentals.known[rented.target.id].state is TargetState.ACTIVE
    assert [u.lun for u in rentals.known[rented.target.id].units] == [0, 1]
    assert overlays() == before


async def test_a_unit_that_could_not_be_removed_is_removed_later(house, rentals, overlays, monkeypatch):
    """Its worker does not answer well: the files stay until it does, and nobody sees the unit."""
    rented = await rentals.create(WISH)
    await logs_in(house, rented)
    far = house.workers[0]
    before = overlays()

    left = await rentals.changes.remove_lun(rented.target.id, 1)  # the dial has no answer: "crashed"
    assert [unit.lun for unit in left.served] == [0]
    assert overlays() == before
    far.answers["remove_unit"] = True
    await rentals.tick()

    assert [unit.lun for unit in rentals.known[left.id].units] == [0]
    assert overlays() < before


async def test_a_growth_that_the_worker_cannot_make_leaves_everything_as_it_was(house, rentals):
    rented = await rentals.create(WISH)
    await logs_in(house, rented)
    for worker in house.workers:
        del worker.answers["grow_unit"]

    with pytest.raises(Conflict, match="cannot be made longer"):
        await rentals.changes.resize(rented.target.id, 1, 4 * MIB)

    assert rentals.known[rented.target.id].units[1].size == 2 * MIB
    assert (await house.control.store.call(targets.get, rented.target.id)).units[1].size == 2 * MIB


async def test_a_growth_that_its_sessions_see_closes_nothing(house, rentals):
    rented = await rentals.create(WISH)
    await logs_in(house, rented)
    for worker in house.workers:
        worker.answers["grow_unit"] = True

    grown = await rentals.changes.resize(rented.target.id, 1, 4 * MIB)

    asked = [method for worker in house.workers for method, _ in worker.asked]
    assert asked == ["grow_unit"]
    assert grown.units[1].size == 4 * MIB


# -- lifetimes -----------------------------------------------------------------------------------------------


async def test_a_tenant_is_warned_once_before_the_end_and_again_after_an_extension(house, rentals):
    rented = await rentals.create(attrs.evolve(WISH, lifetime_seconds=7 * 86400.0))
    id, end = rented.target.id, rented.target.expires

    async def warned(at):
        await rentals.changes.warn(at)
        page = await house.control.store.call(journal.events, target_id=id)
        return [event.kind for event in page.items].count("target.expiring")

    assert await warned(end - timedelta(days=1, seconds=1)) == 0
    assert await warned(end - timedelta(days=1)) == 1
    assert await warned(end - timedelta(hours=1)) == 1
    assert rentals.known[id].expiring
    longer = await rentals.changes.extend(id, 86400.0)
    assert longer.expires == end + timedelta(days=1)
    assert not longer.expiring
    assert await warned(end) == 2


async def test_who_rents_for_an_hour_is_warned_when_half_of_it_is_over(rentals):
    rented = await rentals.create(attrs.evolve(WISH, lifetime_seconds=3600.0))

    await rentals.changes.warn(rented.target.created + timedelta(seconds=1799))
    assert not rentals.known[rented.target.id].expiring
    await rentals.changes.warn(rented.target.created + timedelta(seconds=1800))

    assert rentals.known[rented.target.id].expiring


async def test_an_extension_ends_where_the_tier_ends(rentals):
    rentals.tiers["home"] = limited = attrs.evolve(HOME, lifetime_seconds=7200.0)
    rented = await rentals.create(attrs.evolve(WISH, lifetime_seconds=3600.0))
    rentals.tiers["home"] = limited

    longer = await rentals.changes.extend(rented.target.id, 86400.0)

    assert 7000 < (longer.expires - room.now()).total_seconds() <= 7200
    with pytest.raises(Invalid):
        await rentals.changes.extend(rented.target.id, float("nan"))


async def test_what_lasts_for_ever_cannot_be_extended(rentals):
    rented = await rentals.create(WISH)

    with pytest.raises(Conflict, match="until it is destroyed"):
        await rentals.changes.extend(rented.target.id, 60.0)


# -- tiers ---------------------------------------------------------------------------------------------------


async def test_a_tier_that_changes_is_told_to_who_serves_its_targets(house, rentals):
    rented = await rentals.create(WISH)
    await logs_in(house, rented)
    house.workers[0].answers["rates"] = None

    await rentals.changes.set_tier(attrs.evolve(HOME, iops=1.0, luns=3))
    await rentals.changes.set_tier(attrs.evolve(HOME, iops=1.0, luns=4))

    told = [params for method, params in house.workers[0].asked if method == "rates"]
    assert [(each["target"], each["rates"]["iops"]) for each in told] == [
        (rentals.name(rented.target.id), 1.0)
    ]


@pytest.mark.parametrize(
    "terms", [{"iops": 0.5}, {"iops": float("nan")}, {"bytes_per_second": 65535}, {"warn_seconds": -1.0}]
)
async def test_terms_that_make_no_sense_are_refused(rentals, terms):
    with pytest.raises(Invalid):
        await rentals.changes.set_tier(attrs.evolve(HOME, **terms))
    await rentals.changes.set_tier(attrs.evolve(HOME, iops=1.0, bytes_per_second=65536))
