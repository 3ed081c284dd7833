"""Client certificates over HTTP: the operator says which stand for a tenant, and the tenant may look."""

PRINT = "sha256:" + "AB:" * 31 + "CD"


async def test_the_operator_adds_a_certificate_and_takes_it_away(town):
    at = f"/api/v1/tenants/{town.ada.id}/certificates"
    made = await town.post(at, json={"identity": PRINT}, headers=town.admin)
    known = town.house.control.identities.of(town.ada.id)
    gone = await town.delete(f"{at}/{made.json()['id']}", headers=town.admin)

    identity = "sha256:" + "ab" * 31 + "cd"
    assert (made.status_code, made.json()["identity"], made.json()["tenant_id"]) == (
        201,
        identity,
        town.ada.id,
    )
    assert identity in known
    assert gone.status_code == 204
    assert town.house.control.identities.of(town.ada.id) == {"name:host-of-ada"}


async def test_a_tenant_sees_its_own_and_adds_none(town):
    at = "/api/v1/tenants/ada/certificates"

    seen = await town.get(at, headers=town.ada.headers)
    added = await town.post(at, json={"identity": PRINT}, headers=town.ada.headers)
    removed = await town.delete(f"{at}/{town.ada.certificate_id}", headers=town.ada.headers)

    assert [each["identity"] for each in seen.json()["items"]] == ["name:host-of-ada"]
    assert (added.status_code, removed.status_code) == (403, 403)


async def test_a_certificate_is_found_below_its_own_tenant_only(town):
    url = f"/api/v1/tenants/bob/certificates/{town.ada.certificate_id}"

    assert (await town.delete(url, headers=town.admin)).status_code == 404
    assert town.house.control.identities.of(town.ada.id) == {"name:host-of-ada"}


async def test_certificates_come_in_pages(town):
    at = "/api/v1/tenants/ada/certificates"
    for number in range(2):
        await town.post(at, json={"identity": f"name:host-{number}"}, headers=town.admin)

    first = (await town.get(f"{at}?limit=2", headers=town.admin)).json()
    last = (await town.get(f"{at}?limit=2&after={first['next']}", headers=town.admin)).json()

    assert [len(page["items"]) for page in (first, last)] == [2, 1]
    assert last["next"] is None


async def test_what_stands_for_somebody_already_and_what_is_no_certificate_is_refused(town):
    at = "/api/v1/tenants/bob/certificates"

    for identity, status in (("name:host-of-ada", 409), ("sha256:ab", 400), ("host", 400), ("name:", 400)):
        assert (await town.post(at, json={"identity": identity}, headers=town.admin)).status_code == status
