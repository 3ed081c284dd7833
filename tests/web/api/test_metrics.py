"""``/metrics``: totals for everybody, tenants and sessions for the operator."""


async def test_tenants_and_sessions_are_told_to_the_operator_only(town):
    nobody = await town.get("/metrics")
    operator = await town.get("/metrics", headers=town.admin)
    tenant = await town.get("/metrics", headers=town.ada.headers)

    assert nobody.status_code == 200 and "ada" not in nobody.text and "tenant" not in nobody.text
    assert tenant.status_code == 403
    assert 'scsipub_tenant_operations_total{tenant="ada"} 3.0' in operator.text
    assert 'scsipub_tenant_sessions{tenant="bob"} 1.0' in operator.text
    assert f'scsipub_session_bytes_read_total{{session="{town.ada.session}"' in operator.text
    assert "iqn.ada" not in operator.text  # initiators choose their names


async def test_a_session_that_ends_leaves_what_it_moved_with_its_tenant(town):
    control = town.house.control
    control.usage.ended(town.ada.target_name, {"bytes_read": 5, "bytes_written": 0, "operations": 1})
    town.house.workers[0].answers["sessions"] = []

    text = (await town.get("/metrics", headers=town.admin)).text

    assert 'scsipub_tenant_bytes_read_total{tenant="ada"} 5.0' in text
    assert 'scsipub_tenant_sessions{tenant="ada"} 0.0' in text
