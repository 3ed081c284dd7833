"""The operator's form for tiers: what it says is set, what it does not ask stays."""

import pytest

from tests.web.api.conftest import town as town
from tests.web.test_pages_signin import HERE, form_key, sign_in

MIB = 1 << 20
FORM = {"name": "fast", "size": "1", "unit": "GiB", "targets": "3", "luns": "2", "sessions": "4"}


@pytest.fixture
async def operator(town):
    """``town``, with the operator signed in; ``send`` fills in the form, ``tier`` is what came of it."""
    await sign_in(town, town.admin["Authorization"].partition(" ")[2])
    key = form_key(await town.get("/admin/tenants"))

    async def send(**said):
        return await town.post("/admin/tiers", data={"form_key": key, **FORM, **said}, headers=HERE)

    async def tier():
        return next(each for each in await town.ask("tier.list") if each["name"] == "fast")

    town.send, town.tier = send, tier
    return town


async def test_a_tier_is_as_fast_as_the_form_says(operator):
    said = {"iops": "500", "iops_burst": "2000", "bandwidth": "50", "bandwidth_burst": "0.5"}
    made = await operator.send(**said, warn_hours="36", days="30")
    tier = await operator.tier()

    assert made.status_code == 303
    assert (tier["iops"], tier["iops_burst"]) == (500, 2000)
    assert (tier["bytes_per_second"], tier["bytes_burst"]) == (50 * MIB, MIB // 2)
    assert (tier["warn_seconds"], tier["lifetime_seconds"]) == (36 * 3600, 30 * 86400)
    assert "500 a second" in (await operator.get("/admin/tenants")).text


async def test_a_bound_that_is_left_empty_is_taken_away_and_the_rest_stays(operator):
    terms = {"allocation_budget": MIB, "persistent": True, "iops": 5, "disk_bytes": 7 * MIB}
    await operator.ask("tier.put", name="fast", certificate_required=True, **terms)

    await operator.send(iops="")
    tier = await operator.tier()

    assert tier["iops"] is None
    assert (tier["disk_bytes"], tier["certificate_required"]) == (7 * MIB, True)


NONSENSE = [
    {"iops": "many"},
    {"iops": "0"},
    {"bandwidth": "0.01"},
    {"iops_burst": "nan"},
    {"bandwidth": "inf"},
]


@pytest.mark.parametrize("said", [*NONSENSE, {"warn_hours": "-1"}])
async def test_a_rate_that_makes_no_sense_comes_back_with_the_reason(operator, said):
    page = await operator.send(**said)

    assert page.status_code == 400
    assert 'role="alert"' in page.text
    assert not any(each["name"] == "fast" for each in await operator.ask("tier.list"))
