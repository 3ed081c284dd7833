"""``/api/v1/sessions/ID/faults``: read strictly, handed to the worker that has the session."""

from tests.web.conftest import FAULTS


def path(tenant):
    return f"/api/v1/sessions/{tenant.session}/faults"


async def test_a_tenant_troubles_a_session_of_its_own(town):
    answer = await town.put(
        path(town.ada), json={"rules": [{"fault": "busy", "p": 0.5}], "seed": 7}, headers=town.ada.headers
    )

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"id": town.ada.session, **FAULTS}


async def test_somebody_else_s_session_is_not_there(town):
    answer = await town.put(path(town.bob), json={"rules": []}, headers=town.ada.headers)

    assert answer.status_code == 404


async def test_rules_that_are_none_are_refused_with_what_is_wrong(town):
    for rules, says in (
        ([{"fault": "explode"}], "fault"),
        ([{"fault": "busy", "when": 1}], "no such field"),
        ([{"fault": "busy", "p": 2}], "p"),
        ([{"fault": "busy"}] * 33, "rules"),
    ):
        answer = await town.put(path(town.ada), json={"rules": rules}, headers=town.ada.headers)

        assert answer.status_code == 400, answer.text
        assert says in answer.text


async def test_a_range_that_is_none_is_told(town):
    rules = [{"fault": "busy", "lba": [9, 3]}]

    answer = await town.put(path(town.ada), json={"rules": rules}, headers=town.ada.headers)

    assert (answer.status_code, "9 to 3 is no range" in answer.text) == (409, True)
