"""Uploads and imports over HTTP: the operator's, for images are everybody's."""

from typing import TYPE_CHECKING, Any

import trio

from scsipub.control.api.caller import Caller
from scsipub.control.api.door import Ask, Method
from scsipub.control.imports import Import
from scsipub.errors import OperatorError
from scsipub.store.errors import NotFound
from supervisor.channel import CallError, Reply

if TYPE_CHECKING:
    from scsipub.control.app import Control

SCOPE = "images:write"


class Images:
    """Methods whose names begin with ``upload.`` and ``import.``."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.imports = control.imports

    def methods(self) -> dict[str, Method]:
        def method(run: Any, creates: bool = False) -> Method:
            return Method(run=run, scope=SCOPE, sees=self.sees, creates=creates)

        return {
            "upload.create": method(self.create_upload, creates=True),
            "upload.list": method(self.uploads),
            "upload.show": method(self.upload),
            "upload.open": method(self.open),
            "upload.finish": method(self.finish),
            "upload.remove": method(self.remove_upload),
            "import.create": method(self.create_import, creates=True),
            "import.list": method(self.listed),
            "import.show": method(self.show),
            "import.remove": method(self.remove),
        }

    async def sees(self, caller: Caller, ask: Ask) -> None:
        if caller.tenant_id is not None:
            if "id" in ask:
                raise NotFound("import", str(ask["id"]))
            raise CallError("forbidden", "Images are the operator's.")

    def _begin(self, ask: Ask) -> Import:
        try:
            return self.imports.begin(ask)
        except OperatorError as error:
            raise CallError("invalid", str(error)) from None

    # -- uploads -----------------------------------------------------------------------------------------

    async def create_upload(self, caller: Caller, ask: Ask) -> Any:
        return self._as_upload(self._begin(ask))

    def _as_upload(self, job: Import) -> dict[str, Any]:
        record = job.record
        return {
            "id": record.id,
            "name": record.name,
            "format": record.format,
            "compression": record.compression,
            "size": record.size,
            "offset": self.imports.uploads.offset(record.id),
            "sha256": record.sha256,
            "created": record.created,
        }

    def _upload(self, ask: Ask) -> Import:
        job = self.imports.find(ask["id"])
        if job.record.url is not None or job.state != "uploading":
            raise CallError("not_found", "There is no such upload.  If it is finished, it is an import.")
        return job

    async def uploads(self, caller: Caller, ask: Ask) -> Any:
        jobs = (job for job in self.imports.known.values() if job.state == "uploading")
        return {"items": [self._as_upload(job) for job in jobs if job.record.url is None]}

    async def upload(self, caller: Caller, ask: Ask) -> Any:
        return self._as_upload(self._upload(ask))

    async def open(self, caller: Caller, ask: Ask) -> Any:
        """Where to write: the web process has no way of its own to the state directory."""
        job = self._upload(ask)
        fd = self.imports.uploads.open_to_write(job.record.id)
        return Reply({"size": job.record.size}, fds=[fd])

    async def finish(self, caller: Caller, ask: Ask) -> Any:
        job = self.imports.find(ask["id"])
        self.imports.finish(job)
        return self._as_import(job)

    async def remove_upload(self, caller: Caller, ask: Ask) -> Any:
        self.imports.forget(self._upload(ask))

    # -- imports -----------------------------------------------------------------------------------------

    async def create_import(self, caller: Caller, ask: Ask) -> Any:
        return self._as_import(self._begin(ask))

    def _as_import(self, job: Import) -> dict[str, Any]:
        record = job.record
        return {
            "id": record.id,
            "name": record.name,
            "source": record.origin,
            "format": record.format,
            "compression": record.compression,
            "created": record.created,
            "state": job.state,
            "doing": job.doing,
            "bytes_in": job.bytes_in,
            "bytes_total": job.bytes_total,
            "bytes_out": job.bytes_out,
            "error": str(job.error) if job.error is not None else None,
        }

    def _listed(self) -> list[Import]:
        jobs = self.imports.known.values()
        return [job for job in jobs if job.state != "uploading" or job.record.url is not None]

    async def listed(self, caller: Caller, ask: Ask) -> Any:
        return {"items": [self._as_import(job) for job in reversed(self._listed())]}

    async def show(self, caller: Caller, ask: Ask) -> Any:
        job = self.imports.find(ask["id"])
        if job not in self._listed():
            raise CallError("not_found", "There is no such import.  It is still an upload.")
        return self._as_import(job)

    async def remove(self, caller: Caller, ask: Ask) -> Any:
        job = self.imports.find(ask["id"])
        self.imports.forget(job)
        await trio.lowlevel.checkpoint()
