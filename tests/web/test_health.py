"""What machines ask all the time."""

from supervisor.process import State


async def test_health_is_about_this_process_only(site):
    site.hang_up()

    assert (await site.get("/healthz")).text == "ok\n"


async def test_ready_while_a_worker_takes_connections(site):
    assert (await site.get("/readyz")).status_code == 200


async def test_not_ready_when_no_worker_does(site):
    for slot in site.house.control.pool.statistics().slots:
        slot.state = State.BACKING_OFF

    assert (await site.get("/readyz")).status_code == 503


async def test_not_ready_without_control(site):
    site.hang_up()

    assert (await site.get("/readyz")).status_code == 503


async def test_metrics_are_what_prometheus_reads(site):
    site.house.control.complaints.counts["malformed"] = 4

    answer = await site.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'scsipub_malformed_total{kind="malformed"} 4.0' in answer.text
    assert 'scsipub_worker_bytes_written_total{worker="1"} 20.0' in answer.text
    assert "scsipub_sessions 2.0" in answer.text
