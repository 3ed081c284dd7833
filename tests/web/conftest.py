"""The web process without the process: the real application, asking the real control over a real channel."""

from types import SimpleNamespace

import httpx
import pytest

from scsipub.store.store import open_store
from scsipub.web.app import make_app
from scsipub.web.asking import Asking
from scsipub.web.tunnel import Tunnels
from supervisor.channel import Channel, channel_pair
from tests.support.control_parts import keep

SESSION = {
    "id": "00aa",
    "initiator": "iqn.1993-08.org.debian:01:private",
    "target": "iqn.2025-01.pub.scsipub:blank",
    "source": "198.51.100.77",
    "since": "2026-01-31T12:00:00+00:00",
    "tls": False,
    "tunnel": False,
    "bytes_read": 1,
    "bytes_written": 2,
    "operations": 3,
    "iops": 0.5,
    "last_error": "",
}
FAULTS = {"seed": 7, "rules": [{"fault": "busy"}], "commands": 3, "struck": 1, "events": []}
DISK_FAULTS = {"seed": 7, "rules": [{"fault": "eio"}], "accesses": 3, "struck": 1, "events": []}
STATISTICS = {
    "sessions": 1,
    "connections": 1,
    "tasks": 9,
    "bytes_read": 10,
    "bytes_written": 20,
    "operations": 30,
    "times": [0, 4],
}


@pytest.fixture
async def site(nursery, tmp_path):
    """``get`` and ``delete``; ``house`` is control; ``hang_up`` takes it away."""
    state = tmp_path / "state"
    state.mkdir()
    opened = open_store(None, state, b"i" * 32)
    house = await keep(nursery, state, opened=opened)
    token_file = state / "admin.token"
    house.control.web.token.open(token_file)
    for index, worker in enumerate(house.workers):
        session = {**SESSION, "id": f"{index:02x}aa"}
        worker.answers |= {"statistics": STATISTICS, "sessions": [session], "kick": False, "faults": FAULTS}
        worker.answers["disk_faults"] = DISK_FAULTS
    ours, theirs = channel_pair()
    there = Channel(theirs, house.control.web.handlers(None))
    here = Channel(ours, {})
    await nursery.start(here.run)
    await nursery.start(there.run)
    asking = Asking(here)
    app = make_app(asking, Tunnels(asking, 2, ("127.0.0.1",)))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://disks.example.org") as client:
        yield SimpleNamespace(
            get=client.get,
            post=client.post,
            put=client.put,
            delete=client.delete,
            request=client.request,
            house=house,
            admin={"Authorization": f"Bearer {token_file.read_text().strip()}"},
            hang_up=there.close,
            app=app,
            client=client,
        )
    opened.engine.close()
