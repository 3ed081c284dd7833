"""Lending: the owner of a target gets the files of its disks, and nobody gets anything else."""

import errno
import os
from types import SimpleNamespace

import attrs
import pytest

from scsipub.control import rentals as room
from scsipub.control.accept import Guest
from scsipub.control.orders import LunWish, Wish
from scsipub.iscsi.constants import LoginStatus
from scsipub.limits import DEFAULT
from scsipub.store import tenants
from scsipub.store.store import open_store
from scsipub.tiers import Tier
from supervisor.channel import CallError
from tests.support.control_parts import ISID, NAME, keep

MIB = 1 << 20
HOME = Tier(name="home", allocation_budget=MIB, persistent=True)


@pytest.fixture
async def house(nursery, tmp_path):
    """Two workers; the first owns ada's target, nobody owns bob's."""
    state = tmp_path / "state"
    state.mkdir()
    opened = open_store(None, state, b"i" * 32)
    opened.engine.transact(tenants.put_tier, HOME)
    limits = attrs.evolve(DEFAULT, pool_reserve_bytes=0)
    kept = await keep(nursery, state, opened=opened, limits=limits)
    rented = {}
    for name in ("ada", "bob"):
        opened.engine.transact(tenants.create_tenant, name, "home", room.now(), os.urandom)
        rented[name] = (
            await kept.control.rentals.create(Wish(tenant=name, luns=(LunWish(size=MIB),)))
        ).target
    name = kept.control.rentals.name
    ours, at = name(rented["ada"].id), kept.workers[0].place
    kept.control.placement.owners[ours] = at
    kept.control.placement.opened_by.add((ours, at))
    yield SimpleNamespace(control=kept.control, workers=kept.workers, name=name, **rented)
    opened.engine.close()


def ask(house, tenant, deed, name, **more):
    return {"deed": deed, "target": house.name(tenant.id), "name": name, **more}


def file_of(tenant, suffix=".data"):
    return tenant.units[0].overlay + suffix


async def call(house, worker, params):
    _, fds = await house.workers[worker].there.call_with_fds("disk", params)
    return fds


async def refused(house, worker, params):
    """The errno, if it is refused."""
    with pytest.raises(CallError) as no:
        await call(house, worker, params)
    return no.value.data["errno"]


async def test_the_owner_gets_a_descriptor_that_reads_and_writes(house):
    [fd] = await call(house, 0, ask(house, house.ada, "open", file_of(house.ada), how="old"))

    assert os.pwrite(fd, b"mine", 0) == 4
    assert os.fstat(fd).st_size == MIB
    os.close(fd)


async def test_another_worker_gets_nothing_of_it(house):
    assert (
        await refused(house, 1, ask(house, house.ada, "open", file_of(house.ada), how="old")) == errno.EACCES
    )


async def test_who_only_knows_the_name_of_a_target_gets_nothing_of_it(house):
    """A worker owns what it has asked for first; the disk is lent once somebody has shown the secret."""
    target = house.bob.id
    house.control.guests["1"] = Guest("192.0.2.1", house.workers[0].place)
    asked = {
        "connection": "1", "discovery": False, "initiator": NAME, "target": house.name(target), "isid": ISID,
        "tsih": 0, "cid": 0, "source": "192.0.2.1", "portal": 0, "tls": False,
        "principal": house.bob.tenant_id,
    }  # fmt: skip
    verdict = await house.workers[0].call("resolve", asked)
    assert verdict["target"] is not None
    assert (await house.workers[0].call("admit", asked))["refuse"] == LoginStatus.AUTHENTICATION_FAILURE
    wanted = ask(house, house.bob, "open", file_of(house.bob), how="old")

    assert await refused(house, 0, wanted) == errno.EACCES

    house.control.guests["1"].proven = (house.name(target), house.bob.tenant_id)
    assert (await house.workers[0].call("admit", asked))["target"] is not None
    [fd] = await call(house, 0, wanted)
    os.close(fd)


async def test_the_owner_of_one_target_gets_nothing_of_another(house):
    foreign = ask(house, house.ada, "open", file_of(house.bob), how="old")
    unowned = ask(house, house.bob, "open", file_of(house.bob), how="old")

    assert [await refused(house, 0, params) for params in (foreign, unowned)] == [errno.EACCES] * 2


@pytest.mark.parametrize(
    "name", ["../scsipub.db", "../keys/1.key", "/etc/passwd", "", ".", "d-someone-0.data", "README"]
)
@pytest.mark.parametrize("deed", ["open", "unlink", "replace", "remember"])
async def test_no_other_name_leads_anywhere(house, deed, name):
    params = ask(house, house.ada, deed, name, how="look", by=file_of(house.ada), words="x")

    assert await refused(house, 0, params) == errno.EACCES


async def test_a_file_can_be_replaced_only_by_one_of_the_same_target(house):
    params = ask(house, house.ada, "replace", file_of(house.ada, ".map"), by=file_of(house.bob, ".map"))

    assert await refused(house, 0, params) == errno.EACCES


async def test_what_the_file_system_says_is_told_with_its_number(house):
    missing = ask(house, house.ada, "open", file_of(house.ada, ".live"), how="old")
    there = ask(house, house.ada, "open", file_of(house.ada), how="new")

    assert [await refused(house, 0, params) for params in (missing, there)] == [errno.ENOENT, errno.EEXIST]


async def test_names_come_and_go(house):
    folder = house.control.config.overlays_dir
    for how, suffix in (("new", ".live"), ("fresh", ".map.new")):
        [fd] = await call(house, 0, ask(house, house.ada, "open", file_of(house.ada, suffix), how=how))
        os.close(fd)
    await call(house, 0, ask(house, house.ada, "sync", ""))
    await call(
        house,
        0,
        ask(house, house.ada, "replace", file_of(house.ada, ".map"), by=file_of(house.ada, ".map.new")),
    )
    await call(house, 0, ask(house, house.ada, "unlink", file_of(house.ada, ".live")))
    await call(house, 0, ask(house, house.ada, "remember", file_of(house.ada, ".failed"), words="burnt"))

    left = {path.name for path in folder.glob(f"{house.ada.units[0].overlay}.*")}
    assert left == {file_of(house.ada, suffix) for suffix in (".data", ".map", ".failed")}
    assert (folder / file_of(house.ada, ".map")).stat().st_size == 0
    assert (folder / file_of(house.ada, ".failed")).read_text() == "burnt"


async def test_what_cannot_be_asked_is_refused(house):
    assert await refused(house, 0, ask(house, house.ada, "chmod", file_of(house.ada))) == errno.EACCES
