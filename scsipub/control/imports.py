"""Imports: images that come in over HTTP, from the first byte to the image that is offered.

    uploading ──finish──► waiting ──► converting ──► done
    fetching ───────────────┘   └──────────┴───────► failed

Knows trio, the files of uploads, and helper processes: one converts, one fetches.  Control itself reads none
of the bytes.  Uploads and imports that were under way are taken up again after a restart of the daemon; of
those that are over the last are remembered until then."""

import json
import logging
import os
import secrets
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

import attrs
import trio

from scsipub.control.helping import helped
from scsipub.convert import running
from scsipub.convert.job import Order
from scsipub.errors import OperatorError
from scsipub.storage.formats import check_format, declared_by
from scsipub.storage.images import Image
from scsipub.storage.uploads import IMPORTING, UPLOADING, Record, Uploads
from supervisor.channel import CallError

if TYPE_CHECKING:
    from scsipub.control.app import Control

log = logging.getLogger("scsipub.imports")

REMEMBERED = 100


# The longest that a download may take; that it moves at all is the downloader's to see.
FETCH_SECONDS = 86400.0


@attrs.frozen
class Fetched:
    """What the process that fetches says in the end."""

    bytes: int


@attrs.define(eq=False)
class Import:
    """One image on its way, or one that has arrived or failed."""

    record: Record
    state: str
    doing: str = ""
    bytes_in: int = 0
    bytes_total: int | None = None
    bytes_out: int = 0
    error: OperatorError | None = None
    scope: trio.CancelScope = attrs.Factory(trio.CancelScope)

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed")


class Imports:
    """See the module."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.uploads = Uploads(control.config.state_dir / "uploads")
        self.known: dict[str, Import] = {}
        self._converting = trio.CapacityLimiter(1)
        self._nursery: trio.Nursery | None = None

    # -- the life of it ----------------------------------------------------------------------------------

    async def run(self, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled.  What was under way when the last daemon ended goes on."""
        self.known = {}
        # Half images of converters that ended with the daemon before us.
        await trio.to_thread.run_sync(self.control.catalogue.store.sweep)
        for record in await trio.to_thread.run_sync(self.uploads.records):
            self.known[record.id] = Import(record, UPLOADING)
        try:
            async with trio.open_nursery() as self._nursery:
                for job in list(self.known.values()):
                    if job.record.state == IMPORTING or job.record.url is not None:
                        self._nursery.start_soon(self._work, job)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None

    async def sweep(self) -> list[str]:
        """Forget uploads that nobody goes on with; the janitor calls it."""
        idle = self.control.config.limits.upload_idle_seconds
        gone = []
        for job in list(self.known.values()):
            if job.state == UPLOADING and time.time() - self.uploads.touched(job.record.id) > idle:
                self.forget(job)
                gone.append(f"upload of {job.record.name}")
        under_way = {id for id, job in self.known.items() if not job.over}
        store = self.control.catalogue.store
        gone += await trio.to_thread.run_sync(self.uploads.sweep, under_way)
        gone += await trio.to_thread.run_sync(store.sweep)
        if gone:
            log.info("swept: %s", ", ".join(gone))
        return gone

    # -- beginning and ending ----------------------------------------------------------------------------

    def begin(self, ask: dict[str, Any]) -> Import:
        """An upload of ``size`` bytes, or a fetch from ``url``.  Raises OperatorError and CallError."""
        limits = self.control.config.limits
        url, size = ask.get("url"), ask.get("size")
        said = declared_by(ask.get("file_name") or (url_path(url) if url else ""))
        name = ask.get("name") or said.name
        format_ = ask.get("format") or said.format
        compression = ask.get("compression") or said.compression
        if not name:
            raise OperatorError("This image has no name.", "Give it one.")
        check_format(format_, compression)
        self.control.catalogue.store.must_be_new(name)
        if any(job.record.name == name and not job.over for job in self.known.values()):
            raise CallError("conflict", f"An image {name!r} is on its way already.")
        if sum(not job.over for job in self.known.values()) >= limits.uploads:
            raise CallError("busy", f"{limits.uploads} images are on their way already.")
        if size is not None:
            self._must_fit(size)
        record = Record(
            id=secrets.token_hex(8),
            name=name,
            format=format_,
            compression=compression,
            size=size,
            sha256=ask["sha256"].lower() if ask.get("sha256") else None,
            url=url,
            origin=without_secrets(url) if url else str(ask.get("file_name") or "upload"),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self.uploads.begin(record)
        job = self.known[record.id] = Import(record, UPLOADING)
        if url is not None:
            self._start(job)
        return job

    def _must_fit(self, size: int) -> None:
        limits = self.control.config.limits
        if size > limits.image_bytes:
            raise OperatorError(
                f"{size} bytes are more than the {limits.image_bytes} allowed.", "Raise image_bytes."
            )
        to_come = sum(
            (job.record.size or 0) - self.uploads.offset(job.record.id)
            for job in self.known.values()
            if job.state == UPLOADING
        )
        if self.control.free_bytes() - limits.pool_reserve_bytes - to_come < size:
            raise CallError("exhausted", "There is no room for it.")

    def find(self, id: object) -> Import:
        job = self.known.get(str(id))
        if job is None:
            raise CallError("not_found", f"There is no import {str(id)[:40]}.")
        return job

    def finish(self, job: Import) -> None:
        """All bytes are there: make an image of them.  Raises CallError when they are not."""
        self.must_be_uploading(job)
        offset = self.uploads.offset(job.record.id)
        if offset != job.record.size:
            raise CallError("conflict", f"{offset} of {job.record.size} bytes have come.")
        try:
            with self.uploads.alone(job.record.id):
                pass
        except BlockingIOError:
            raise CallError("conflict", "Somebody is still sending.") from None
        job.record = attrs.evolve(job.record, state=IMPORTING)
        self.uploads.change(job.record)
        self._start(job)

    def must_be_uploading(self, job: Import) -> None:
        if job.state != UPLOADING or job.record.url is not None:
            raise CallError("conflict", f"It is {job.state}.")

    def forget(self, job: Import) -> None:
        """Whatever it is doing: it ends, and nothing of it stays.  The image, if it is done, does."""
        job.scope.cancel()
        self.known.pop(job.record.id, None)
        self.uploads.remove(job.record.id)

    def _start(self, job: Import) -> None:
        if self._nursery is None:
            raise CallError("unavailable", "The daemon is not ready for that.")
        job.state = "waiting"
        self._nursery.start_soon(self._work, job)

    # -- the work ----------------------------------------------------------------------------------------

    async def _work(self, job: Import) -> None:
        job.state = "waiting"
        try:
            with job.scope:
                if job.record.url is not None and job.record.state == UPLOADING:
                    await self._fetch(job, job.record.url)
                async with self._converting:
                    await self._convert(job)
        except (OperatorError, OSError) as error:
            refusal = error if isinstance(error, OperatorError) else _of_system(error)
            job.state, job.error = "failed", refusal
            log.warning("import of %s: %s", job.record.name, refusal)
        except Exception:
            job.state = "failed"
            job.error = OperatorError("That is a bug of scsipub.", "Its log says more.")
            log.exception("import of %s", job.record.name)
        if job.over:
            self.uploads.remove(job.record.id)
            over = [id for id, each in self.known.items() if each.over]
            for id in over[:-REMEMBERED]:
                del self.known[id]

    async def _fetch(self, job: Import, url: str) -> None:
        """Into the upload's file, from its beginning: another process, for it speaks with strangers."""
        config = self.control.config
        job.state = "fetching"
        with self.uploads.alone(job.record.id) as target:
            os.ftruncate(target, 0)
            order = {
                "url": url,
                "target": target,
                "max_bytes": config.limits.image_bytes,
                "seconds": config.limits.fetch_seconds,
                "redirects": config.limits.fetch_redirects,
                "resumes": config.limits.fetch_resumes,
                "private": "allowed" if config.fetch_private else "refused",
            }
            argv = [sys.executable, "-m", "scsipub", "fetch", "--order", json.dumps(order), "--report"]
            reports = running.Reports(lambda *said: self._told(job, *said))
            code = await helped(lambda fd: [*argv, str(fd)], [target], reports, FETCH_SECONDS)
            fetched = reports.done(code, FETCH_SECONDS, Fetched)
        job.record = attrs.evolve(job.record, state=IMPORTING, size=fetched.bytes)
        self.uploads.change(job.record)
        job.state = "waiting"

    async def _convert(self, job: Import) -> None:
        record, limits = job.record, self.control.config.limits
        store = self.control.catalogue.store
        job.state, job.bytes_in, job.bytes_total = "converting", 0, None
        # A second file beside the image's, for what must be unpacked before it can be read.
        with (
            self.uploads.alone(record.id) as source,
            store.incoming(record.name) as incoming,
            store.incoming(record.name) as scratch,
        ):
            order = Order(
                source=source,
                target=incoming.fd,
                scratch=scratch.fd,
                format=record.format,
                compression=record.compression,
                sha256=record.sha256,
                max_bytes=limits.image_bytes,
                memory_bytes=limits.image_memory_bytes,
                cpu_seconds=limits.image_convert_seconds,
            )
            reports = running.Reports(lambda *said: self._told(job, *said))
            code = await helped(
                lambda fd: running.command(order, fd),
                running.descriptors(order, -1),
                reports,
                2.0 * limits.image_convert_seconds,
            )
            done = reports.outcome(code, order)
            image = Image(record.name, done.format, done.bytes, done.sha256, record.created, record.origin)
            await trio.to_thread.run_sync(incoming.publish, image)
        self.control.catalogue.reload()
        job.record = attrs.evolve(record, format=done.format)
        job.bytes_in = job.bytes_total = job.bytes_out = done.bytes
        job.state = "done"

    def _told(self, job: Import, doing: str, got: int, total: int, made: int) -> None:
        job.doing, job.bytes_in, job.bytes_total, job.bytes_out = doing, got, total, made
        if self.control.free_bytes() < self.control.config.limits.pool_reserve_bytes:
            raise OperatorError("There is no room for the image.", "Free some space in the state directory.")


def _of_system(error: OSError) -> OperatorError:
    return OperatorError(
        f"The image cannot be written: {os.strerror(error.errno or 0)}.", "See the daemon's log."
    )


def url_path(url: str) -> str:
    """What the address calls the file.  OperatorError for what is no address."""
    return unquote(_split(url).path).rstrip("/").rpartition("/")[2]


def without_secrets(url: str) -> str:
    """The address as it may be shown: no password, and nothing behind the path."""
    parts = _split(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise OperatorError(f"That is no address: {error}.", "Check it.") from None
