"""``/api/v1/images/uploads`` and ``/api/v1/imports``: images on their way in.

Source: the resumable part of it is in the spirit of tus 1.0 (``Upload-Offset``, HEAD, PATCH).

    POST   /images/uploads              announce it
    PATCH  /images/uploads/{id}         bytes, from Upload-Offset on; as many requests as it takes
    HEAD   /images/uploads/{id}         where to go on, after whatever went wrong
    POST   /images/uploads/{id}/finish  make an image of it
    GET    /imports/{id}                how far that is

The bytes go from the socket to the file that control opened for this one upload; they are never all in
memory, and what has come stays if anything ends."""

import errno
import fcntl
import os
from typing import Any

import attrs
import cattrs
import trio
from litestar import Request, Response, delete, get, patch, post
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.exceptions import ClientException, HTTPException
from litestar.params import JSONBody

from scsipub.web.api.answers import Import, ImportList, Upload, UploadList
from scsipub.web.api.bounds import ImportId, Key, UploadOffset
from scsipub.web.api.calls import ABOUT, BEARER, CHANGES, KNOWN, Call, problem
from scsipub.web.api.orders import FetchOrder, UploadOrder
from scsipub.web.asking import Refused

SILENCE_SECONDS = 30.0
LEAST_PER_SECOND = 1024
PATIENCE_SECONDS = 60.0

OFFSET = "Upload-Offset"
OFFSETS = [ResponseHeader(name=OFFSET, description="How many bytes are there.", documentation_only=True)]
SENDING = {
    **CHANGES,
    408: problem(408, "Too little came for too long.  What came is kept: ask for the offset, and go on."),
    409: problem(409, "Another offset is due: see Upload-Offset.  Or somebody else is sending."),
    413: problem(413, "That is more than was announced."),
    507: problem(507, "There is no room."),
}


@post("/images/uploads", summary="Announce an image", security=BEARER, responses=CHANGES)
async def announce(call: NamedDependency[Call], data: JSONBody[UploadOrder], key: Key = None) -> Upload:
    return cattrs.structure(await call("upload.create", attrs.asdict(data), key), Upload)


@get("/images/uploads", summary="Uploads under way", security=BEARER, responses=KNOWN)
async def uploads(call: NamedDependency[Call]) -> UploadList:
    return cattrs.structure(await call("upload.list"), UploadList)


@get(
    "/images/uploads/{upload_id:str}",
    summary="How far an upload is; HEAD says it in a header",
    security=BEARER,
    responses=ABOUT,
    response_headers=OFFSETS,
)
async def upload(call: NamedDependency[Call], upload_id: ImportId) -> Response[Upload]:
    said = cattrs.structure(await call("upload.show", {"id": upload_id}), Upload)
    return Response(said, headers={OFFSET: str(said.offset), "Upload-Length": str(said.size)})


@patch(
    "/images/uploads/{upload_id:str}",
    summary="Send some of it",
    security=BEARER,
    responses=SENDING,
    response_headers=OFFSETS,
    status_code=204,
    request_max_body_size=None,
)
async def send(
    request: Request[Any, Any, Any], call: NamedDependency[Call], upload_id: ImportId, offset: UploadOffset
) -> Response[None]:
    said, fd = await call.asking.descriptor("upload.open", call.token, {"id": upload_id})
    try:
        there = await _receive(request, fd, offset, said["size"])
    finally:
        os.close(fd)
    return Response(None, status_code=204, headers={OFFSET: str(there)})


async def _receive(request: Request[Any, Any, Any], fd: int, offset: int, size: int) -> int:
    """Write what comes; how many bytes are there then."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it ends with the descriptor, or with this process
    except BlockingIOError:
        raise Refused("conflict", "Somebody else is sending.") from None
    there = os.fstat(fd).st_size
    if offset != there:
        raise HTTPException(status_code=409, detail=f"{there} bytes are there.", headers={OFFSET: str(there)})
    began = trio.current_time()
    pieces = request.stream()
    while True:
        try:
            with trio.fail_after(SILENCE_SECONDS):
                piece = await anext(pieces, None)
        except trio.TooSlowError:
            raise _too_slow(there) from None
        except ClientException:
            return there  # gone in the middle: nobody hears this answer, and what came is kept
        if piece is None:
            return there
        if there + len(piece) > size:
            raise HTTPException(
                status_code=413, detail=f"{size} bytes were announced.", headers={OFFSET: str(there)}
            )
        await trio.to_thread.run_sync(_write, fd, piece, there)
        there += len(piece)
        if there - offset < (trio.current_time() - began - PATIENCE_SECONDS) * LEAST_PER_SECOND:
            raise _too_slow(there)


def _write(fd: int, piece: bytes, offset: int) -> None:
    try:
        done = 0
        while done < len(piece):
            done += os.pwrite(fd, memoryview(piece)[done:], offset + done)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HTTPException(status_code=507, detail="There is no room.") from None
        raise


def _too_slow(there: int) -> HTTPException:
    return HTTPException(
        status_code=408, detail="Too little came for too long.", headers={OFFSET: str(there)}
    )


@post(
    "/images/uploads/{upload_id:str}/finish",
    summary="All of it is there: make an image of it",
    security=BEARER,
    responses=CHANGES,
    status_code=202,
)
async def finish(call: NamedDependency[Call], upload_id: ImportId) -> Import:
    return cattrs.structure(await call("upload.finish", {"id": upload_id}), Import)


@delete("/images/uploads/{upload_id:str}", summary="Give it up", security=BEARER, responses=ABOUT)
async def give_up(call: NamedDependency[Call], upload_id: ImportId) -> None:
    await call("upload.remove", {"id": upload_id})


@post(
    "/imports",
    summary="Fetch an image from an address",
    security=BEARER,
    responses=CHANGES,
    status_code=202,
)
async def fetch(call: NamedDependency[Call], data: JSONBody[FetchOrder], key: Key = None) -> Import:
    return cattrs.structure(await call("import.create", attrs.asdict(data), key), Import)


@get("/imports", summary="Imports, the newest first", security=BEARER, responses=KNOWN)
async def imports(call: NamedDependency[Call]) -> ImportList:
    return cattrs.structure(await call("import.list"), ImportList)


@get("/imports/{import_id:str}", summary="How far an import is", security=BEARER, responses=ABOUT)
async def one(call: NamedDependency[Call], import_id: ImportId) -> Import:
    return cattrs.structure(await call("import.show", {"id": import_id}), Import)


@delete(
    "/imports/{import_id:str}",
    summary="Stop it, or forget it; an image that is done stays",
    security=BEARER,
    responses=ABOUT,
)
async def stop(call: NamedDependency[Call], import_id: ImportId) -> None:
    await call("import.remove", {"id": import_id})


HANDLERS = [announce, uploads, upload, send, finish, give_up, fetch, imports, one, stop]
