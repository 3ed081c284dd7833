"""What is another tenant's is not there: generated from the OpenAPI document, door by door."""

import pytest
from litestar import Router, get
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery

from scsipub.control.api.door import Method
from scsipub.web.api.calls import BEARER, Call, provide_call
from tests.web.api.trespass import IN_PATH, OPERATORS, addresses, body_of, doors, trespasses


@pytest.fixture
async def document(town):
    return (await town.get("/api/v1/openapi.json")).json()


async def everything(site, who, document):
    """What its owner sees of a tenant, so that two looks can be compared."""
    seen = {}
    for path, method, door in doors(document):
        if method == "get" and "security" in door:
            for url in addresses(path, who):
                seen[url] = (await site.get(url, headers=site.admin)).text
    return {url: text for url, text in seen.items() if "/tokens" not in url}  # when they were used last


async def test_a_tenants_token_opens_nothing_of_anothers(town, document):
    before = await everything(town, town.bob, document)

    assert await trespasses(town, document, town.ada, town.bob) == []
    assert await trespasses(town, document, town.bob, town.ada) == []

    after = await everything(town, town.bob, document)
    for url in (url for url in before if any(t in url for t in (town.bob.target, town.bob.session))):
        assert after[url] == before[url]


async def test_the_very_same_requests_open_to_their_owner(town, document):
    """Or else the 404s above would prove nothing."""
    closed = []
    for path, method, door in doors(document):
        if "{" not in path or any(f"{{{name}}}" in path for name in OPERATORS):
            continue
        body = body_of(document, door)
        url = addresses(path, town.bob)[0]
        who = town.admin if method == "delete" else town.bob.headers  # its own token may be gone by then
        how = {"json": body} if body is not None else {}
        town.house.workers[1].answers["kick"] = True
        answer = await town.request(method.upper(), url, headers=who, **how)
        if answer.status_code == 404:
            closed.append(f"{method} {url}")
    assert closed == []


def add_door(town, handler, **methods):
    """A new endpoint, and the methods of control that it asks."""
    town.house.control.web.door.methods.update(methods)
    router = Router("/api/v1", route_handlers=[handler], dependencies={"call": Provide(provide_call)})
    town.app.app.register(router)


@pytest.mark.parametrize("kind", ["thing", "list", "riddle"])
async def test_a_door_without_a_check_is_found(town, kind):
    """Somebody adds an endpoint and forgets whose things it shows."""
    control = town.house.control

    async def unchecked(caller, ask):
        return await control.console.counter.shown(control.rentals.find(town.bob.target))

    if kind == "thing":

        @get("/targets/{target_id:str}/leak", security=BEARER)
        async def leak(call: NamedDependency[Call], target_id: FromPath[str]) -> dict[str, str]:
            return await control.web.door.methods["leak"].run(None, {})

    elif kind == "list":

        @get("/leaks", security=BEARER)
        async def leak(call: NamedDependency[Call]) -> dict[str, str]:
            return await control.web.door.methods["leak"].run(None, {})

    else:

        @get("/leaks", security=BEARER)
        async def leak(call: NamedDependency[Call], of: FromQuery[str]) -> dict[str, str]:
            return {}

    add_door(town, leak, leak=Method(run=unchecked))
    document = (await town.get("/api/v1/openapi.json")).json()

    found = await trespasses(town, document, town.ada, town.bob)

    assert found and all("leak" in each for each in found), found


async def test_every_kind_of_thing_has_two_owners_here(town):
    """The test's own table: each name leads to different things of the two."""
    for things in IN_PATH.values():
        for thing in things:
            assert getattr(town.ada, thing) != getattr(town.bob, thing)
