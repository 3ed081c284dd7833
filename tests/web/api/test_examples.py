"""Examples of the OpenAPI document: each is what its record says, no field too few and none too many."""

import attrs
import cattrs
import msgspec
import pytest

from scsipub.web.api import disk_faults, document, faults
from scsipub.web.api.calls import fits_untrusted
from scsipub.web.api.examples import EXAMPLES
from scsipub.web.api.orders import ORDERS

ALL_ORDERS = {kind.__name__: kind for kind in (*ORDERS, *faults.ORDERS, *disk_faults.ORDERS)}


def _below(kind, found):
    """Records that a record has inside."""
    if attrs.has(kind) and kind.__name__ not in found:
        found[kind.__name__] = kind
        for field in attrs.fields(attrs.resolve_types(kind)):
            _below(field.type, found)
    for part in getattr(kind, "__args__", ()):
        _below(part, found)


def answers():
    found = {}
    for kind in document.ANSWERS:
        _below(kind, found)
    return found


@pytest.fixture
async def doors(site):
    return (await site.get("/api/v1/openapi.json")).json()


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_fits_its_record(name):
    if name in ALL_ORDERS:
        fits_untrusted(
            msgspec.json.encode(EXAMPLES[name]), ALL_ORDERS[name]
        )  # as a request is held against it
        return
    record = answers()[name]

    strict = cattrs.Converter(forbid_extra_keys=True).structure(EXAMPLES[name], record)

    assert msgspec.json.decode(msgspec.json.encode(strict)) == EXAMPLES[name]
    msgspec.json.decode(msgspec.json.encode(EXAMPLES[name]), type=record, strict=True)


@pytest.mark.parametrize("name", ["LunOrder", "Target"])
@pytest.mark.parametrize("spoilt", [{"no such field": 1}, {"block_size": "x", "id": 7}])
def test_an_example_that_does_not_fit_would_be_noticed(name, spoilt, monkeypatch):
    monkeypatch.setitem(EXAMPLES, name, EXAMPLES[name] | spoilt)

    with pytest.raises(Exception, match=r"(?s)."):
        test_an_example_fits_its_record(name)


async def test_every_body_and_every_answer_has_an_example(doors):
    wanted = set()
    for at in doors["paths"].values():
        for door in at.values():
            contents = [door.get("requestBody", {}).get("content", {})]
            contents += [
                said.get("content", {}) for status, said in door["responses"].items() if status < "400"
            ]
            for content in contents:
                ref = content.get("application/json", {}).get("schema", {}).get("$ref")
                wanted |= {ref.rpartition("/")[2]} if ref else set()

    assert sorted(wanted - EXAMPLES.keys()) == []
