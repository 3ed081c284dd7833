"""The keeper of the web process, and what the process may ask."""

import socket

import pytest

from scsipub.control import web
from supervisor.exits import Exit, ProcessSignalled
from supervisor.pool import WorkerPool
from supervisor.pool_spec import PoolSpec
from supervisor.telemetry import WorkerDown, WorkerUp
from tests.support.control_parts import keep

DOWN = WorkerDown("web", 0, 1, Exit("web 0", ProcessSignalled(9, ()), 1.0), planned=False)
UP = WorkerUp("web", 0, 1, 1)


async def test_a_port_that_somebody_has_leaves_the_daemon_without_pages(nursery, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        house = await keep(nursery, tmp_path, web_port=taken.getsockname()[1])

        assert house.control.web.open() is None
        await house.control.web.run()  # and there is nothing to keep alive


async def test_only_loopback_is_listened_on(nursery, tmp_path):
    house = await keep(nursery, tmp_path, web_port=0)

    address = house.control.web.open()
    with house.control.web.listener as listener:
        assert address == f"127.0.0.1:{listener.getsockname()[1]}"


async def test_a_process_that_cannot_start_is_tried_again_for_ever(house, monkeypatch, autojump_clock):
    """``run`` fails never: above it there are the workers."""
    import trio

    tries = []

    async def fails():
        tries.append(trio.current_time())
        raise RuntimeError

    keeper = house.control.web
    keeper.listener = object()
    keeper.pool = WorkerPool(PoolSpec(argv=lambda i, fd: []))
    monkeypatch.setattr(keeper.pool, "run", fails)
    with trio.move_on_after(web.AGAIN_SECONDS * 2.5):
        await keeper.run()

    assert len(tries) == 3


def test_trouble_is_said_once_until_it_is_over(caplog, tmp_path):
    keeper = web.WebProcess(None)

    with caplog.at_level("WARNING"):
        for event in (DOWN, DOWN, DOWN, UP, DOWN):
            keeper._event(event)

    assert len(caplog.records) == 2


@pytest.mark.parametrize("method", ["api.session.list", "api.session.kick"])
async def test_an_admin_question_without_the_token_reaches_no_worker(house, tmp_path, method):
    house.control.web.token.open(tmp_path / "admin.token")
    handler = house.control.web.handlers(None)[method]

    for token in ({}, {"token": "admin.no"}, {"token": None}):
        with pytest.raises(web.CallError, match="unauthorised"):
            await handler({"id": "x", **token}, [])
    assert [w.asked for w in house.workers] == [[], []]
    assert house.control.complaints.counts["api token refused"] == 3
    assert len(house.said) == 1
    assert "admin.no" not in str(house.said)


@pytest.mark.parametrize(
    ("public_host", "host", "port"),
    [
        (None, None, 3260),
        ("disks.example.org", "disks.example.org", 3260),
        ("[2001:db8::1]:860", "2001:db8::1", 860),
    ],
)
async def test_disks_are_where_the_outside_finds_them(nursery, tmp_path, public_host, host, port):
    house = await keep(nursery, tmp_path, public_host=public_host)
    house.control.endpoints = {"iscsi": "127.0.0.1:3260", "tls": None, "web": None}

    told = house.control.web.disks({}, [])

    assert (told["host"], told["port"], told["tls_port"]) == (host, port, None)
    assert [d["target"].rpartition(":")[2] for d in told["disks"]] == ["blank", "multi"]
    assert told["disks"][0]["luns"] == [{"lun": 0, "image": None, "bytes": 64 << 20}]
