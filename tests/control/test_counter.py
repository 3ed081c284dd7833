"""What the operator's commands are answered, over the control socket's methods."""

import io
import json
import os

import pytest

from scsipub.store.errors import StoreUnavailable
from scsipub.store.records import SCOPES
from scsipub.store.store import open_store
from supervisor.channel import CallError
from tests.support.control_parts import keep

MIB = 1 << 20


@pytest.fixture
async def house(nursery, tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    opened = open_store(None, state, b"i" * 32)
    made = await keep(nursery, state, opened=opened)
    yield made
    opened.engine.close()


@pytest.fixture
def ask(house):
    """One call, as it comes over the socket: through JSON."""

    async def ask(method, **params):
        answer = await house.control.console.handlers()[method](json.loads(json.dumps(params)), [])
        return json.loads(json.dumps(answer))

    return ask


@pytest.fixture
async def tenant(ask):
    await ask("tier.put", name="home", allocation_budget=MIB, persistent=True)
    return await ask("tenant.create", name="ada", tier="home")


async def test_a_target_from_its_order_to_its_end(ask, tenant):
    made = await ask("target.create", tenant="ada", luns=[{"size": MIB}], alias="mine")

    assert made["name"] == f"iqn.2025-01.pub.scsipub:{made['id']}"
    assert (made["tenant"], made["state"], made["luns"][0]["size"]) == ("ada", "ACTIVE", MIB)
    assert len(made["chap"]["secret"]) == 16
    (listed,) = (await ask("target.list"))["targets"]
    assert listed == {key: made[key] for key in listed}
    assert "chap" not in listed
    assert (await ask("target.suspend", id=made["id"], reason="unpaid"))["reason"] == "unpaid"
    assert (await ask("target.resume", id=made["name"]))["state"] == "ACTIVE"
    assert (await ask("target.resize", id=made["id"], size=2 * MIB))["luns"][0]["size"] == 2 * MIB
    kinds = [event["kind"] for event in (await ask("event.list", target=made["id"]))["events"]]
    assert kinds == ["target.resized", "target.active", "target.suspended", "target.created"]
    assert await ask("target.destroy", id=made["id"]) == {"destroyed": made["id"]}
    assert (await ask("target.list"))["targets"] == []


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({}, "invalid"),
        ({"luns": []}, "invalid"),
        ({"luns": "x"}, "invalid"),
        ({"luns": [{"size": "x"}]}, "invalid"),
        ({"luns": [{"size": MIB, "colour": "red"}]}, "invalid"),
        ({"luns": [{"size": MIB}], "colour": "red"}, "invalid"),
        ({"luns": [{"size": MIB}], "tier": "gold"}, "not_found"),
        ({"luns": [{"image": "none"}]}, "not_found"),
        ({"luns": [{"size": MIB}], "tenant": "bob"}, "not_found"),
    ],
)
async def test_an_order_that_cannot_be_filled_is_refused_in_plain_words(house, ask, tenant, wish, code):
    with pytest.raises(CallError) as refused:
        await ask("target.create", **{"tenant": "ada"} | wish)

    assert refused.value.code == code
    assert refused.value.message.endswith(".")
    assert os.listdir(house.control.config.overlays_dir) == ["disposable"]


async def test_without_the_database_it_is_said_so(house, ask, tenant, monkeypatch):
    async def away(*args, **kwargs):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(house.control.store, "call", away)
    with pytest.raises(CallError) as refused:
        await ask("target.create", tenant="ada", luns=[{"size": MIB}])

    assert refused.value.code == "unavailable"
    assert "sessions go on" in refused.value.data["do"]


async def test_a_token_is_shown_once(ask, tenant):
    made = await ask("token.create", tenant="ada", name="ci", scopes=["targets:read"], lifetime_seconds=60)

    (listed,) = (await ask("token.list", tenant="ada"))["tokens"]
    assert listed == {key: value for key, value in made.items() if key != "token"}
    assert made["token"].startswith(f"scsipub_{made['id']}.")
    assert made["expires"] > made["created"]
    await ask("token.revoke", id=made["id"])
    assert (await ask("token.list"))["tokens"][0]["revoked"] is not None


async def test_a_token_without_scopes_may_what_its_owner_may(ask, tenant):
    assert set((await ask("token.create", tenant="ada"))["scopes"]) == SCOPES - {"admin"}
    assert (await ask("token.create"))["scopes"] == ["admin"]


async def test_tenants_come_and_go(ask, tenant):
    assert (await ask("tenant.list"))["tenants"] == [tenant]
    assert (await ask("tenant.change", tenant="ada", suspended=True))["suspended"] is True
    with pytest.raises(CallError, match="suspended"):
        await ask("target.create", tenant="ada", luns=[{"size": MIB}])
    assert await ask("tenant.remove", tenant="ada") == {"removed": tenant["id"]}


@pytest.mark.parametrize("name", ["", "Ada", "a b", "../x", "x" * 64, "é"])
async def test_names_are_small_letters_and_digits(ask, tenant, name):
    for method, more in [("tenant.create", {"tier": "home"}), ("tier.put", {"allocation_budget": 1})]:
        with pytest.raises(CallError, match="small letters"):
            await ask(method, name=name, **more)


async def test_tiers_come_and_go(ask, tenant):
    await ask("tier.put", name="big", allocation_budget=MIB, luns=3)

    assert [(t["name"], t["luns"]) for t in await ask("tier.list")] == [("big", 3), ("home", 8)]
    with pytest.raises(CallError, match="in use"):
        await ask("tier.remove", name="home")
    await ask("tier.remove", name="big")
    assert [t["name"] for t in await ask("tier.list")] == ["home"]


async def test_an_image_under_a_rented_target_stays(house, ask, tenant):
    house.control.catalogue.store.add(io.BytesIO(b"x" * 4096), "one")
    house.control.catalogue.reload()
    made = await ask("target.create", tenant="ada", luns=[{"image": "one"}])

    handlers = house.control.console.handlers()
    with pytest.raises(CallError, match="stands on"):
        handlers["image.remove"]({"name": "one"}, [])
    await ask("target.destroy", id=made["id"])
    assert handlers["image.remove"]({"name": "one"}, [])["name"] == "one"


async def test_logins_go_on_after_a_change_of_keys(house, ask, tenant):
    made = await ask("target.create", tenant="ada", luns=[{"size": MIB}])

    assert await ask("key.rotate") == {"resealed": 1}

    entry = house.control.rentals.entry(made["id"])
    assert entry.account("ada").secret == made["chap"]["secret"].encode()


async def test_what_is_typed_names_the_target_the_portal_and_the_account(house, ask, tenant):
    house.control.endpoints["iscsi"] = "192.0.2.1:3260"
    made = await ask("target.create", tenant="ada", luns=[{"size": MIB}, {"size": MIB}], mutual=True)
    commands, chap = made["commands"], made["chap"]

    assert set(commands) == {"open-iscsi", "qemu", "ipxe", "powershell"}
    for text in commands.values():
        assert all(word in text for word in (made["name"], "192.0.2.1", "3260", "ada", chap["secret"]))
    for name in ("open-iscsi", "ipxe", "powershell"):
        assert chap["mutual_secret"] in commands[name]
    assert commands["qemu"].count("-drive") == 2


async def test_what_wants_tls_is_told_how_with_tls_only(house, ask):
    house.control.endpoints["tls"] = "192.0.2.1:3261"
    await ask("tier.put", name="safe", allocation_budget=MIB, persistent=True, tls_required=True)
    await ask("tenant.create", name="eve", tier="safe")
    made = await ask("target.create", tenant="eve", luns=[{"size": MIB}])

    assert set(made["commands"]) == {"open-iscsi", "qemu", "ipxe", "powershell"}
    assert "connect = 127.0.0.1:3261" in made["commands"]["open-iscsi"]
    assert all("scsipub connect" in made["commands"][name] for name in ("qemu", "ipxe", "powershell"))
    assert all(made["chap"]["secret"] in text for text in made["commands"].values())
