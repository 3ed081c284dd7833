"""What everybody may know: how the daemon is, and the images that disks can be copies of."""

import cattrs
from litestar import delete, get
from litestar.di import NamedDependency

from scsipub.web.api.bounds import FEW_ITEMS, After, ImageInPath, Limit
from scsipub.web.api.calls import BEARER, CHANGES, PUBLIC, Call
from scsipub.web.asking import Asking
from scsipub.web.models import Image, ImagePage, Status


@get("/status", summary="How the daemon is", responses={503: PUBLIC[503]})
async def status(asking: NamedDependency[Asking]) -> Status:
    return cattrs.structure(await asking.public("status"), Status)


@get("/images", summary="Images that disks can be copies of", responses=PUBLIC)
async def images(asking: NamedDependency[Asking], limit: Limit = FEW_ITEMS, after: After = None) -> ImagePage:
    every = cattrs.structure(await asking.public("images"), list[Image])
    rest = sorted((i for i in every if i.name > (after or "")), key=lambda image: image.name)
    more = rest[limit - 1].name if len(rest) > limit else None
    return ImagePage(items=rest[:limit], total=len(every), next=more)


@delete(
    "/images/{image_name:str}",
    summary="Remove an image on which no rented target stands; sessions that have it keep it",
    security=BEARER,
    responses=CHANGES,
)
async def remove_image(
    call: NamedDependency[Call], asking: NamedDependency[Asking], image_name: ImageInPath
) -> None:
    await call("image.remove", {"name": image_name})
    asking.forget("images")


HANDLERS = [status, images, remove_image]
