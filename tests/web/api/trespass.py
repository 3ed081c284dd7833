"""One tenant knocks at every door of the OpenAPI document with what is another's.

Nothing here lists the doors: each path and method that the document has is tried, and what it wants is filled
in from the other tenant's things.  A parameter that nobody has said the meaning of is a finding too, so a new
door is not passed by in silence."""

import re
from collections.abc import Iterator
from typing import Any

# What of the other tenant's a parameter of an address names.
IN_PATH = {
    "target_id": ("target", "target_name"),
    "tenant_id": ("id", "name"),
    "session_id": ("session",),
    "token_id": ("token_id",),
    "certificate_id": ("certificate_id",),
    "name": ("tier",),  # /tiers/{name}
}
IN_QUERY = {"tenant": ("id", "name"), "target": ("target", "target_name")}
IN_BODY = {"tenant": ("id", "name")}
# What says nothing about whose thing it is.
OTHERWISE = {"lun": 0, "limit": None, "after": None, "Idempotency-Key": None, "Upload-Offset": None}
# What is the operator's, and no tenant's: for all of them it is not there.
OPERATORS = {"upload_id": "9c1185a5c5e9fc54", "import_id": "9c1185a5c5e9fc54", "image_name": "readme"}


def canaries(other: Any) -> tuple[str, ...]:
    """Text that only an answer about the other tenant's things contains."""
    # The name as a whole string: three letters of it may stand in anybody's random id.
    things = (other.id, other.token_id, other.target, other.session, other.tier, f'"{other.name}"')
    return (*things, f"alias-of-{other.name}", f"iqn.{other.name}", f"host-of-{other.name}")


def doors(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every one; what removes comes last, the deepest of that first, and tenants at the very end."""
    found = [(path, method, door) for path, at in document["paths"].items() for method, door in at.items()]
    yield from sorted(found, key=lambda each: (each[1] == "delete", "tenant_id" in each[0], -len(each[0])))


def body_of(document: dict[str, Any], door: dict[str, Any]) -> Any:
    """The example that the document gives."""
    record = _record(document, door)
    return dict(record["examples"][0]) if record else None


def unknown(door: dict[str, Any]) -> set[str]:
    """Parameters whose meaning nobody has said."""
    named = {parameter["name"] for parameter in door.get("parameters", ())}
    return named - IN_PATH.keys() - IN_QUERY.keys() - OTHERWISE.keys() - OPERATORS.keys()


def addresses(path: str, other: Any) -> list[str]:
    """The path with each way to name what is the other's."""
    made = [path]
    for name in re.findall(r"{(\w+)}", path):
        things = (
            [getattr(other, thing) for thing in IN_PATH[name]]
            if name in IN_PATH
            else [(OTHERWISE | OPERATORS)[name]]
        )
        made = [each.replace(f"{{{name}}}", str(thing)) for each in made for thing in things]
    return made


async def trespasses(site: Any, document: dict[str, Any], me: Any, other: Any) -> list[str]:
    """What ``me`` could learn of ``other`` or do to it; should be nothing."""
    found: list[str] = []

    async def tried(method: str, url: str, body: Any, door: dict[str, Any], *allowed: int) -> None:
        how = {"json": body} if body is not None else {}
        answer = await site.request(method.upper(), url, headers={**me.headers, "Upload-Offset": "0"}, **how)
        said = f"{method} {url} {body or ''}: {answer.status_code}"
        if answer.status_code not in allowed:
            found.append(f"{said}, not {allowed}")
        if answer.status_code < 300 and any(canary in answer.text for canary in canaries(other)):
            found.append(f"{said}, and tells of the other")

    for path, method, door in doors(document):
        if strange := unknown(door):
            found.append(f"{method} {path} has parameters of which nobody knows whose they are: {strange}")
            continue
        body = body_of(document, door)
        if "{" in path:
            for url in addresses(path, other):
                await tried(method, url, body, door, 404)
            continue
        # Nothing of the other's is named: it is done, or refused for want of a scope, and tells nothing.
        await tried(method, path, body, door, 200, 201, 403, 404, 409)
        for parameter in door.get("parameters", ()):
            for thing in IN_QUERY.get(parameter["name"], ()):
                url = f"{path}?{parameter['name']}={getattr(other, thing)}"
                await tried(method, url, body, door, 404)
        for field in IN_BODY.keys() & _fields(document, door):
            for thing in IN_BODY[field]:
                await tried(method, path, {**body, field: getattr(other, thing)}, door, 404)
    return found


def _fields(document: dict[str, Any], door: dict[str, Any]) -> set[str]:
    return set((_record(document, door) or {}).get("properties", ()))


def _record(document: dict[str, Any], door: dict[str, Any]) -> dict[str, Any] | None:
    """What describes the body, if that is JSON."""
    content = door.get("requestBody", {}).get("content", {}).get("application/json")
    if content is None:
        return None
    found: dict[str, Any] = document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    return found
