"""The operator's page about images: what is there, what is on its way, and how to bring more.

Knows Litestar.  The bytes of an upload go to the API, see ``api.images``; the page's script sends them."""

from typing import Any

from litestar import Request, Response, get, post
from litestar.di import NamedDependency

from scsipub.web.asking import Asking, Refused
from scsipub.web.pages_admin import must_be_admin
from scsipub.web.pages_parts import page
from scsipub.web.pages_signin import form_of, see, told
from scsipub.web.pages_visits import Visit

FORMATS = ("raw", "iso", "qcow2", "vmdk", "vhd", "vhdx")
Asked = Request[Any, Any, Any]


async def _images_page(asking: Asking, visit: Visit, wrong: str = "", code: int = 200) -> Response[str]:
    asking.forget("images")
    images = sorted(await asking.public("images"), key=lambda image: str(image["name"]))
    return page(
        "images.html",
        code,
        visit=visit,
        here="/admin/images",
        images=images,
        uploads=(await asking.known("upload.list", visit.token))["items"],
        imports=(await asking.known("import.list", visit.token))["items"],
        formats=FORMATS,
        wrong=wrong,
    )


@get("/admin/images")
async def images(asking: NamedDependency[Asking], visit: NamedDependency[Visit]) -> Response[str]:
    must_be_admin(visit)
    return await _images_page(asking, visit)


@post("/admin/images/fetch")
async def fetch(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    """From an address."""
    said = await form_of(request, visit)
    must_be_admin(visit)
    ask = {key: said[key] for key in ("url", "name", "sha256", "format") if said.get(key)}
    try:
        await asking.known("import.create", visit.token, ask)
    except Refused as error:
        return await _images_page(asking, visit, told(error), 400)
    return see("/admin/images#arriving")


@post("/admin/images/stop")
async def stop(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    """An upload or an import; or forget how it ended."""
    said = await form_of(request, visit)
    method = "upload.remove" if said.get("kind") == "upload" else "import.remove"
    await asking.known(method, visit.token, {"id": said.get("id", "")})
    return see("/admin/images#arriving")


@post("/admin/images/remove")
async def remove(
    asking: NamedDependency[Asking], visit: NamedDependency[Visit], request: Asked
) -> Response[Any]:
    said = await form_of(request, visit)
    await asking.known("image.remove", visit.token, {"name": said.get("name", "")})
    return see("/admin/images")


HANDLERS = [images, fetch, stop, remove]
