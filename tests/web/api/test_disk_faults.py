"""``/api/v1/sessions/ID/disks/LUN/faults``: read strictly, handed to the worker that has the session."""

import pytest

from tests.web.conftest import DISK_FAULTS


def path(tenant, lun=0):
    return f"/api/v1/sessions/{tenant.session}/disks/{lun}/faults"


async def test_a_tenant_troubles_the_disk_of_a_session_of_its_own(town):
    rules = [{"fault": "eio", "access": "read", "sectors": [8, 15], "p": 0.5}]

    answer = await town.put(path(town.ada, 1), json={"rules": rules, "seed": 7}, headers=town.ada.headers)

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"id": town.ada.session, "lun": 1, **DISK_FAULTS}


async def test_it_is_told_and_cleared(town):
    shown = await town.get(path(town.ada), headers=town.ada.headers)
    cleared = await town.delete(path(town.ada), headers=town.ada.headers)

    assert shown.json() == {"id": town.ada.session, "lun": 0, **DISK_FAULTS}
    assert cleared.status_code == 204


@pytest.mark.parametrize("method", ["get", "put", "delete"])
async def test_the_disk_of_somebody_else_s_session_is_not_there(town, method):
    body = {"json": {"rules": []}} if method == "put" else {}

    answer = await getattr(town, method)(path(town.bob), headers=town.ada.headers, **body)

    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ([{"fault": "explode"}], "fault"),
        ([{"fault": "eio", "lba": [1, 2]}], "no such field"),
        ([{"fault": "eio", "access": "look"}], "access"),
        ([{"fault": "eio", "p": 2}], "p"),
        ([{"fault": "slow", "seconds": 3601}], "seconds"),
        ([{"fault": "eio"}] * 33, "rules"),
    ],
)
async def test_rules_that_are_none_are_refused_with_what_is_wrong(town, rules, says):
    answer = await town.put(path(town.ada), json={"rules": rules}, headers=town.ada.headers)

    assert (answer.status_code, says in answer.text) == (400, True), answer.text


async def test_a_range_that_is_none_is_told(town):
    rules = [{"fault": "eio", "sectors": [9, 3]}]

    answer = await town.put(path(town.ada), json={"rules": rules}, headers=town.ada.headers)

    assert (answer.status_code, "9 to 3 is no range" in answer.text) == (409, True)


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"luns": [0, 2]}, 404, "has no LUN 1; it has 0, 2"),
        ({"luns": []}, 404, "discovery"),
        ({"most": 16}, 409, "16 faulty disks"),
    ],
)
async def test_what_the_worker_cannot_do_is_said_in_words(town, said, status, words):
    town.house.workers[0].answers["disk_faults"] = said

    answer = await town.put(path(town.ada, 1), json={"rules": []}, headers=town.ada.headers)

    assert (answer.status_code, words in answer.text) == (status, True), answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("lun", ["256", "-1"])
async def test_a_number_that_no_unit_has_is_refused(town, lun):
    answer = await town.get(path(town.ada, lun), headers=town.ada.headers)

    assert answer.status_code in (400, 404)
