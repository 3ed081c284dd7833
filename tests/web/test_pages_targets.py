"""A tenant's page: what it shows, and that each of its forms does what it says."""

import re
from datetime import UTC, datetime

import pytest

from scsipub.control.causes import Cause
from tests.web.api.conftest import town as town
from tests.web.test_pages_signin import HERE, form_key, sign_in

MIB = 1 << 20
PORT = {"isid": None, "principal": "ada", "target_port": None}


@pytest.fixture
async def ada(town):
    """``town``, with ada signed in; ``send`` fills in a form."""
    await sign_in(town, town.ada.token)
    town.key = form_key(await town.get("/targets"))

    async def send(path, **said):
        return await town.post(path, data={"form_key": town.key, **said}, headers=HERE)

    town.send = send
    town.path = f"/targets/{town.ada.target}"
    for worker in town.house.workers:
        worker.answers["release"] = []
    return town


async def test_renting_shows_the_secret_once(ada):
    made = await ada.send("/targets/new", alias="mine", size="1", unit="MiB", key="k1")
    page = await ada.get(made.headers["location"])
    again = await ada.get(made.headers["location"])

    assert made.status_code == 303
    assert "shown this once" in page.text and "node.session.auth.password" in page.text
    assert "shown this once" not in again.text and "auth.password" not in again.text
    assert "mine" in again.text


async def test_a_form_that_is_sent_twice_rents_once(ada):
    first = await ada.send("/targets/new", size="1", unit="MiB", key="same")
    second = await ada.send("/targets/new", size="1", unit="MiB", key="same")

    def id(answer):
        return answer.headers["location"].partition("?")[0]

    assert id(first) == id(second)
    assert len((await ada.ask("target.list", tenant="ada"))["targets"]) == 2


NONSENSE = [
    ({"size": "much"}, "A size is a number"),
    ({"size": "-1"}, "A size is a number"),
    ({"size": "nan"}, "A size is a number"),
    ({"size": "1e300"}, "A size is a number"),
    ({}, "at least one disk"),
    ({"image": "no-such-image"}, "no-such-image"),
    ({"size": "1", "alias": "a\x1b[2Jb"}, "can be printed"),
]


async def test_an_order_that_makes_no_sense_comes_back_with_the_reason(ada):
    for said, why in NONSENSE:
        page = await ada.send("/targets/new", **said)

        assert page.status_code == 400, said
        assert why in page.text and 'role="alert"' in page.text, said
        assert "\x1b" not in page.text


async def test_a_disk_is_made_longer(ada):
    await ada.send(f"{ada.path}/resize", lun="0", size="2", unit="MiB")

    assert (await ada.ask("target.show", id=ada.ada.target))["luns"][0]["size"] == 2 * MIB
    assert (await ada.send(f"{ada.path}/resize", lun="0", size="1", unit="MiB")).status_code == 400
    assert (await ada.send(f"{ada.path}/resize", lun="x", size="9")).status_code == 400


async def test_suspend_and_resume(ada):
    await ada.send(f"{ada.path}/suspend")
    assert "suspended" in (await ada.get(ada.path)).text
    await ada.send(f"{ada.path}/resume")

    assert (await ada.ask("target.show", id=ada.ada.target))["state"] == "ACTIVE"


async def test_another_secret_is_shown_once_too(ada):
    answer = await ada.send(f"{ada.path}/secret")

    assert "shown this once" in (await ada.get(answer.headers["location"])).text
    assert ada.ada.secret not in (await ada.get(ada.path)).text


async def test_nothing_is_destroyed_unless_the_box_is_ticked(ada):
    refused = await ada.send(f"{ada.path}/destroy")
    assert refused.status_code == 400 and "Nothing was destroyed" in refused.text
    done = await ada.send(f"{ada.path}/destroy", sure="yes")

    assert done.headers["location"] == "/targets"
    assert (await ada.get(ada.path)).status_code == 404


async def test_who_is_connected_and_what_happened_stand_on_the_page(ada):
    text = (await ada.get(ada.path)).text

    assert "iqn.ada" in text and "198.51.100.77" in text
    assert f"target {ada.ada.target} was made" in text
    assert "Nobody is registered" in text


async def test_a_token_that_may_only_read_sees_no_forms(ada):
    reader = await ada.ask("token.create", tenant="ada", name="reader", scopes=["targets:read"])
    await sign_in(ada, reader["token"])
    text = (await ada.get(ada.path)).text

    assert f'action="{ada.path}' not in text and "Destroy" not in text
    key = form_key(await ada.get("/targets"))
    denied = await ada.post(f"{ada.path}/suspend", data={"form_key": key}, headers=HERE)
    assert denied.status_code == 403


async def test_who_holds_a_disk_and_who_was_fenced_stand_on_the_page(ada):
    """One node of a cluster preempts the other; the page says it in words."""
    a, b = ({**PORT, "name": name} for name in ("iqn.node-a", "iqn.<b>node-b</b>"))
    keys = [
        {"port": port, "key": f"{key:016x}", "all_target_ports": False}
        for key, port in ((0xA1, a), (0xB2, b))
    ]
    steps = [
        ("REGISTER", a, keys[:1], None),
        ("REGISTER", b, keys, None),
        ("RESERVE", b, keys, b),
        ("PREEMPT", a, keys[:1], a),
    ]
    for generation, (action, by, registrations, holder) in enumerate(steps, 1):
        state = {
            "generation": generation, "kind": 5 if holder else None, "holder": holder, "aptpl": True,
            "registrations": registrations, "action": action, "by": by,
        }  # fmt: skip
        await ada.house.control.rentals.keep_reservations(ada.ada.target_name, 0, state)
    text = (await ada.get(ada.path)).text

    assert "LUN 0: write exclusive registrants only" in text
    assert "it survives a loss of power" in text
    assert text.count('<span class="state">holder</span>') == 1
    assert re.search(r'<th scope="row" class="name">iqn.node-a', text)
    assert "iqn.&lt;b&gt;node-b&lt;/b&gt;" in text and "<b>" not in text
    assert '<span class="flag">preempted</span>' in text


async def test_a_login_that_failed_is_explained(ada):
    attempts = ada.house.control.desk.journal.attempts
    for cause, status in ((Cause.WRONG_SECRET, 0x0201), (Cause.WRONG_SECRET, 0x0201), (Cause.LOGGED_IN, 0)):
        attempts.note(
            ada.ada.target_name,
            "iqn.<i>\x1b[2J",
            "192.0.2.99",
            cause,
            datetime.now(UTC),
            user="ada",
            status=status,
        )
    text = (await ada.get(ada.path)).text

    assert "2 times" in text and "told 0x0201" in text
    assert "iqn.&lt;i&gt;\\x1b[2J from 192.0.2.99 as ada" in text
    assert "node.session.auth.password" in text  # what mends it
    assert "The login succeeded." not in text


async def test_a_disk_is_added_and_removed_again(ada):
    await ada.send(f"{ada.path}/add", size="1", unit="MiB")
    assert [lun["lun"] for lun in (await ada.ask("target.show", id=ada.ada.target))["luns"]] == [0, 1]

    unsure = await ada.send(f"{ada.path}/remove/1")
    assert unsure.status_code == 400 and "loses LUN 1" in unsure.text
    assert (await ada.get(f"{ada.path}/remove/7")).status_code == 404
    await ada.send(f"{ada.path}/remove/1", sure="yes")
    assert [lun["lun"] for lun in (await ada.ask("target.show", id=ada.ada.target))["luns"]] == [0]


async def test_a_disk_that_is_added_is_one_thing(ada):
    for said in ({}, {"size": "1", "image": "readme"}, {"size": "x"}):
        assert (await ada.send(f"{ada.path}/add", **said)).status_code == 400, said
    assert len((await ada.ask("target.show", id=ada.ada.target))["luns"]) == 1


async def test_who_is_signed_in_stays_so_where_something_went_wrong(ada):
    for page in (await ada.get("/targets/no-such"), await ada.send(f"{ada.path}/resize", size="x")):
        assert "Sign out" in page.text and "Sign in" not in page.text
