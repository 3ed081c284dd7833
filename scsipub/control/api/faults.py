"""Faults of one session, and of its disks, over HTTP: for who tests an initiator at a target of theirs."""

from typing import TYPE_CHECKING, Any

from scsipub.control.api.caller import Caller
from scsipub.control.api.door import Ask, Method
from scsipub.control.faults import set_disk_faults, set_faults

if TYPE_CHECKING:
    from scsipub.control.api.news import News


class Faults:
    """Methods whose names begin with ``fault.`` and ``disk_fault.``.  Whose session it is, ``news`` knows."""

    def __init__(self, news: "News") -> None:
        self.console = news.control.console
        self.sees = news.sees_session

    def methods(self) -> dict[str, Method]:
        return {
            "fault.show": Method(run=self.show, scope="sessions:read", sees=self.sees),
            "fault.set": Method(run=self.set, scope="sessions:write", sees=self.sees),
            "fault.clear": Method(run=self.clear, scope="sessions:write", sees=self.sees),
            "disk_fault.show": Method(run=self.show_disk, scope="sessions:read", sees=self.sees),
            "disk_fault.set": Method(run=self.set_disk, scope="sessions:write", sees=self.sees),
            "disk_fault.clear": Method(run=self.clear_disk, scope="sessions:write", sees=self.sees),
        }

    async def show(self, caller: Caller, ask: Ask) -> Any:
        return await set_faults(self.console, {"id": ask["id"]})

    async def set(self, caller: Caller, ask: Ask) -> Any:
        return await set_faults(self.console, ask)

    async def clear(self, caller: Caller, ask: Ask) -> Any:
        return await set_faults(self.console, {"id": ask["id"], "rules": []})

    async def show_disk(self, caller: Caller, ask: Ask) -> Any:
        return await set_disk_faults(self.console, {"id": ask["id"], "lun": ask["lun"]})

    async def set_disk(self, caller: Caller, ask: Ask) -> Any:
        return await set_disk_faults(self.console, ask)

    async def clear_disk(self, caller: Caller, ask: Ask) -> Any:
        return await set_disk_faults(self.console, {"id": ask["id"], "lun": ask["lun"], "rules": []})
