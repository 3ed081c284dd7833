"""Targets over HTTP: rented, seen, changed and given back."""

import io
from datetime import datetime

import pytest
import trio

MIB = 1 << 20


async def test_a_tenant_rents_a_target_and_is_told_what_to_type(town):
    answer = await town.post("/api/v1/targets", json={"size": MIB}, headers=town.ada.headers)

    made = answer.json()
    assert answer.status_code == 201, made
    assert (made["tenant"], made["state"]) == ("ada", "ACTIVE")
    assert [lun["size"] for lun in made["luns"]] == [MIB]
    assert set(made["commands"]) == {"open-iscsi", "qemu", "ipxe", "powershell"}
    assert all(made["chap"]["secret"] in text and made["name"] in text for text in made["commands"].values())


async def test_the_secret_is_shown_once(town):
    made = (await town.post("/api/v1/targets", json={"size": MIB}, headers=town.ada.headers)).json()

    shown = await town.get(f"/api/v1/targets/{made['id']}", headers=town.ada.headers)
    listed = await town.get("/api/v1/targets", headers=town.ada.headers)

    assert shown.json()["name"] == made["name"]
    assert made["chap"]["secret"] not in shown.text + listed.text


async def test_images_become_units_one_each_then_the_rest(town):
    catalogue = town.house.control.catalogue
    for name in ("one", "two"):
        catalogue.store.add(io.BytesIO(name.encode() * 512), name)
    catalogue.reload()

    body = {"images": ["two", "one"], "size": MIB, "luns": [{"image": "one", "size": MIB}]}
    made = (await town.post("/api/v1/targets", json=body, headers=town.ada.headers)).json()

    assert [(lun["lun"], lun["image"]) for lun in made["luns"]] == [
        (0, "two"),
        (1, "one"),
        (2, None),
        (3, "one"),
    ]


async def test_the_operator_says_for_whom(town):
    without = await town.post("/api/v1/targets", json={"size": MIB}, headers=town.admin)
    made = await town.post("/api/v1/targets", json={"size": MIB, "tenant": "bob"}, headers=town.admin)

    assert (without.status_code, without.json()["errors"][0]["key"]) == (409, "tenant")
    assert made.json()["tenant"] == "bob"


async def test_a_tenant_cannot_choose_a_better_tier(town):
    order = {"size": MIB, "tier": town.bob.tier}

    assert (await town.post("/api/v1/targets", json=order, headers=town.ada.headers)).status_code == 404


async def test_from_suspension_to_the_end(town):
    at, who = f"/api/v1/targets/{town.ada.target}", town.ada.headers

    assert (await town.post(f"{at}/suspend", json={"reason": "away"}, headers=who)).json()["reason"] == "away"
    assert (await town.post(f"{at}/resume", headers=who)).json()["state"] == "ACTIVE"
    longer = await town.request("PATCH", f"{at}/luns/0", json={"size": 2 * MIB}, headers=who)
    assert longer.json()["luns"][0]["size"] == 2 * MIB
    assert (await town.delete(at, headers=who)).status_code == 204
    assert (await town.get(at, headers=who)).status_code == 404


async def test_another_secret_takes_the_place_of_the_last(town):
    at = f"/api/v1/targets/{town.ada.target}/secret"

    made = (await town.post(at, headers=town.ada.headers)).json()

    entry = town.house.control.rentals.entry(town.ada.target)
    assert entry.account("ada").secret == made["chap"]["secret"].encode() != town.ada.secret.encode()
    assert made["chap"]["secret"] in made["commands"]["qemu"]


async def test_targets_come_in_pages(town):
    for _ in range(3):
        await town.post("/api/v1/targets", json={"size": MIB}, headers=town.ada.headers)
    seen, after = [], ""
    while after is not None:
        where = f"/api/v1/targets?limit=3{'&after=' + after if after else ''}"
        page = (await town.get(where, headers=town.ada.headers)).json()
        seen += [target["id"] for target in page["items"]]
        after = page["next"]

    assert len(seen) == len(set(seen)) == 4


@pytest.mark.parametrize("after", ["x", "bm90aGluZw", "%00"])
async def test_a_position_that_we_did_not_make_is_not_there(town, after):
    answer = await town.get(f"/api/v1/targets?after={after}", headers=town.ada.headers)

    assert answer.status_code in (400, 404)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_units_come_and_go(town):
    at, who = f"/api/v1/targets/{town.ada.target}/luns", town.ada.headers

    added = await town.post(at, json={"size": MIB}, headers=who)
    assert (added.status_code, [lun["lun"] for lun in added.json()["luns"]]) == (201, [0, 1])
    assert (await town.delete(f"{at}/1", headers=who)).status_code == 204
    assert [lun["lun"] for lun in (await town.get(at, headers=who)).json()["items"]] == [0]
    assert (await town.delete(f"{at}/1", headers=who)).status_code == 404


async def test_the_same_key_is_the_same_answer_also_for_two_at_once(town):
    headers = town.ada.headers | {"Idempotency-Key": "k1"}
    answers = []

    async def rent():
        answers.append(await town.post("/api/v1/targets", json={"size": MIB}, headers=headers))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rent)
        nursery.start_soon(rent)
    answers.sort(key=lambda answer: answer.status_code)
    again = await town.post("/api/v1/targets", json={"size": MIB}, headers=headers)
    other = await town.post("/api/v1/targets", json={"size": 2 * MIB}, headers=headers)

    assert [answer.status_code for answer in answers] == [201, 409]
    assert again.json() == answers[0].json()
    assert other.status_code == 409
    neighbour = town.bob.headers | {"Idempotency-Key": "k1"}
    assert (await town.post("/api/v1/targets", json={"size": MIB}, headers=neighbour)).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {"size": "1048576"},
        {"size": MIB, "colour": "red"},
        {"luns": [{"size": MIB, "colour": "red"}]},
        {"size": 511},
        {"size": MIB, "alias": "a\nb"},
        {"size": MIB, "alias": "a\0b"},
        {"images": "one"},
        {"size": MIB, "mutual": 1},
        [],
        None,
        "text",
    ],
)
async def test_what_does_not_fit_is_refused_with_its_place(town, body):
    answer = await town.post("/api/v1/targets", json=body, headers=town.ada.headers)

    assert answer.status_code == 400
    assert answer.json()["errors"]


async def test_a_token_without_the_scope_is_told_which(town):
    made = await town.post("/api/v1/tokens", json={"scopes": ["targets:read"]}, headers=town.ada.headers)
    reader = {"Authorization": f"Bearer {made.json()['token']}"}

    refused = await town.post("/api/v1/targets", json={"size": MIB}, headers=reader)

    assert (await town.get("/api/v1/targets", headers=reader)).status_code == 200
    assert refused.status_code == 403 and "targets:write" in refused.json()["detail"]
    more = await town.post("/api/v1/tokens", json={"scopes": ["admin"]}, headers=town.ada.headers)
    assert more.status_code == 403


async def test_a_target_lasts_longer_once_for_each_key(town):
    body = {"size": MIB, "lifetime_seconds": 3600}
    made = (await town.post("/api/v1/targets", json=body, headers=town.ada.headers)).json()
    url, key = f"/api/v1/targets/{made['id']}/extend", {**town.ada.headers, "Idempotency-Key": "once"}

    first = await town.post(url, json={"seconds": 1800}, headers=key)
    again = await town.post(url, json={"seconds": 1800}, headers=key)

    def at(said):
        return datetime.fromisoformat(said["expires"])

    assert first.status_code == again.status_code == 200
    assert (at(first.json()) - at(made)).total_seconds() == 1800
    assert again.json()["expires"] == first.json()["expires"]


async def test_what_lasts_for_ever_does_not_last_longer(town):
    url = f"/api/v1/targets/{town.ada.target}/extend"

    assert (await town.post(url, json={"seconds": 60}, headers=town.ada.headers)).status_code == 409
    assert (await town.post(url, json={"seconds": 0}, headers=town.ada.headers)).status_code == 400


async def test_how_full_the_disks_are_is_told(town):
    answer = await town.get(f"/api/v1/targets/{town.ada.target}/usage", headers=town.ada.headers)

    assert answer.json() == {"items": [{"lun": 0, "used": 0, "budget": MIB, "size": MIB}]}


async def test_who_is_registered_is_told(town):
    target = town.house.control.rentals.known[town.ada.target]
    port = {"name": "iqn.node-a", "isid": None, "principal": "ada", "target_port": None}
    state = {"generation": 1, "kind": None, "holder": None, "aptpl": True}
    state |= {"registrations": [{"port": port, "key": "c0ffee"}], "action": "REGISTER", "by": port}
    assert await town.house.control.rentals.keep_reservations(town.ada.target_name, 0, state)

    said = (await town.get(f"/api/v1/targets/{target.id}/reservations", headers=town.ada.headers)).json()

    assert (said["id"], said["luns"][0]["type"], said["luns"][0]["generation"]) == (target.id, None, 1)
    [registered] = said["luns"][0]["registrations"]
    assert (registered["initiator"], registered["holds"]) == ("iqn.node-a", False)
    assert int(registered["key"], 16) == 0xC0FFEE


async def test_the_operator_removes_an_image_but_none_that_is_stood_on(town):
    catalogue = town.house.control.catalogue
    for name in ("one", "two"):
        catalogue.store.add(io.BytesIO(name.encode() * 512), name)
    catalogue.reload()
    await town.post("/api/v1/targets", json={"images": ["two"]}, headers=town.ada.headers)

    def removing(name, who):
        return town.delete(f"/api/v1/images/{name}", headers=who)

    assert (await removing("one", town.ada.headers)).status_code == 404
    assert (await removing("one", town.admin)).status_code == 204
    assert (await removing("one", town.admin)).status_code == 404
    assert (await removing("two", town.admin)).status_code == 409
    assert [each["name"] for each in (await town.get("/api/v1/images")).json()["items"]] == ["two"]


async def test_how_fast_a_tier_may_be_is_set_and_bounded(town):
    terms = {"allocation_budget": MIB, "persistent": True, "warn_seconds": 60, "iops": 5, "iops_burst": 9}
    terms |= {"bytes_per_second": 1 << 20, "bytes_burst": 4 << 20}
    made = await town.put("/api/v1/tiers/fast", json=terms, headers=town.admin)

    assert {key: made.json()[key] for key in terms} == terms
    for field, least in (("iops", 1), ("iops_burst", 1), ("bytes_per_second", 65536), ("bytes_burst", 1)):
        for value, status in ((least, 200), (least - 1, 400)):
            body = {**terms, field: value}
            answer = await town.put("/api/v1/tiers/fast", json=body, headers=town.admin)
            assert answer.status_code == status, (field, value)
