"""What ``/api/v1`` tells everybody, and how it says no."""

import pytest


async def test_status_tells_everybody_numbers_and_nobodys_name(site):
    answer = await site.get("/api/v1/status")

    assert answer.status_code == 200
    assert answer.json()["sessions"] == 2
    assert [w["bytes_read"] for w in answer.json()["workers"]] == [10, 10]
    assert not {"pids", "state_dir", "listeners"} & answer.json().keys()
    assert "198.51.100.77" not in answer.text and "debian" not in answer.text


async def test_images_are_listed_by_name_without_their_paths(site):
    answer = await site.get("/api/v1/images")

    assert answer.json() == {"items": [], "total": 0, "next": None}


async def test_sessions_are_told_to_who_has_the_token(site):
    answer = await site.get("/api/v1/sessions", headers=site.admin)

    assert [(s["id"], s["worker"]) for s in answer.json()["items"]] == [("00aa", 0), ("01aa", 1)]
    assert answer.json()["next"] is None


async def test_sessions_come_in_pages(site):
    first = (await site.get("/api/v1/sessions?limit=1", headers=site.admin)).json()
    second = (await site.get(f"/api/v1/sessions?limit=1&after={first['next']}", headers=site.admin)).json()

    assert [page["items"][0]["id"] for page in (first, second)] == ["00aa", "01aa"]
    assert (first["total"], second["next"]) == (2, None)


@pytest.mark.parametrize("limit", ["0", "201", "many", "-1"])
async def test_a_page_of_an_impossible_size_is_a_problem(site, limit):
    answer = await site.get(f"/api/v1/sessions?limit={limit}", headers=site.admin)

    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer admin.wrong"},
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/v1/sessions"), ("DELETE", "/api/v1/sessions/00aa")]
)
async def test_without_the_token_nothing_is_told_and_nobody_is_ended(site, headers, method, path):
    answer = await site.request(method, path, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "debian" not in answer.text
    assert all(name == "statistics" for w in site.house.workers for name, _ in w.asked)


async def test_the_token_in_the_address_is_not_looked_at(site):
    token = site.admin["Authorization"].partition(" ")[2]

    assert (await site.get(f"/api/v1/sessions?token={token}")).status_code == 401


async def test_a_session_is_ended(site):
    site.house.workers[1].answers["kick"] = True

    answer = await site.delete("/api/v1/sessions/01aa", headers=site.admin)

    assert (answer.status_code, answer.content) == (204, b"")
    assert ("kick", {"id": "01aa"}) in site.house.workers[1].asked


async def test_a_session_that_is_not_there_is_a_problem(site):
    answer = await site.delete("/api/v1/sessions/none", headers=site.admin)

    assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/v1/no", 404), ("POST", "/api/v1/status", 405)]
)
async def test_what_is_not_there_is_a_problem_too(site, method, path, status):
    answer = await site.request(method, path)

    assert answer.status_code == answer.json()["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_daemon_that_is_gone_is_said_to_be(site):
    site.hang_up()

    answer = await site.get("/api/v1/status")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
