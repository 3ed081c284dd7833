"""Orders: what a request's body may say.  Unknown fields are refused, and so is anything of another type.

Values only; the bounds come from ``bounds``."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import attrs
from msgspec import Meta

from scsipub.tiers import LEAST_BYTES_PER_SECOND, Tier
from scsipub.web.api.bounds import (
    BIGGEST,
    CENTURY,
    MOST_INITIATORS,
    MOST_LUNS,
    FileName,
    Identity,
    ImageName,
    Iqn,
    Label,
    Name,
    Seconds,
    Sha256,
    Size,
    TenantName,
    Text,
    Url,
)


@attrs.frozen(kw_only=True)
class LunOrder:
    """One logical unit: over an image, or blank of a size, or an image with room behind it."""

    image: ImageName | None = None
    size: Size | None = None
    block_size: Literal[512, 4096] = 512


@attrs.frozen(kw_only=True)
class TargetOrder:
    """A target: a unit over each of `images`, then a blank one of `size`, then `luns`; from LUN 0 on."""

    tenant: TenantName | None = None
    images: Annotated[list[ImageName], Meta(max_length=MOST_LUNS)] | None = None
    size: Size | None = None
    luns: Annotated[list[LunOrder], Meta(max_length=MOST_LUNS)] | None = None
    tier: Name | None = None
    alias: Text = ""
    initiators: Annotated[list[Iqn], Meta(max_length=MOST_INITIATORS)] = attrs.field(factory=list)
    nexus: Literal["name", "initiator-port"] = "name"
    lifetime_seconds: Seconds | None = None
    mutual: bool = False


@attrs.frozen(kw_only=True)
class SuspendOrder:
    """Why; initiators' people are told."""

    reason: Text = ""


@attrs.frozen(kw_only=True)
class ResizeOrder:
    """The new size, larger than before, in whole blocks."""

    size: Size


@attrs.frozen(kw_only=True)
class ExtendOrder:
    """So many seconds more, but not beyond what the tier allows from now on."""

    seconds: Seconds


@attrs.frozen(kw_only=True)
class TenantOrder:
    """Somebody who rents."""

    name: Name
    tier: Name


@attrs.frozen(kw_only=True)
class TenantChange:
    """What is left out stays as it is."""

    tier: Name | None = None
    suspended: bool | None = None


@attrs.frozen(kw_only=True)
class CertificateOrder:
    """What stands for the tenant from now on."""

    identity: Identity


Scope = Literal[
    "targets:read",
    "targets:write",
    "images:read",
    "images:write",
    "sessions:read",
    "sessions:write",
    "events:read",
    "tokens:write",
    "admin",
]


@attrs.frozen(kw_only=True)
class TokenOrder:
    """A token.  Scopes: what the asking token has, unless told; never more than that."""

    tenant: TenantName | None = None
    name: Label = ""
    scopes: Annotated[list[Scope], Meta(max_length=16)] | None = None
    lifetime_seconds: Seconds | None = None


Format = Literal["raw", "iso", "qcow2", "vmdk"]
Compression = Literal["none", "gz", "xz", "bz2", "zst"]


@attrs.frozen(kw_only=True)
class UploadOrder:
    """An image that is going to be sent: `size` bytes as they are sent, packed or not.

    What neither `format` nor the suffix of `file_name` says, the first bytes do, once."""

    size: Annotated[int, Meta(ge=1, le=BIGGEST)]
    name: Name | None = None
    file_name: FileName | None = None
    format: Format | None = None
    compression: Compression | None = None
    sha256: Sha256 | None = None


@attrs.frozen(kw_only=True)
class FetchOrder:
    """An image that is to be fetched.  What is left out is taken from the address, as of a file's name."""

    url: Url
    name: Name | None = None
    format: Format | None = None
    compression: Compression | None = None
    sha256: Sha256 | None = None


if TYPE_CHECKING:

    @attrs.frozen
    class TierTerms:
        """Every field of ``Tier`` but its name."""

else:

    def _bounded(kind: Any) -> Any:
        """Numbers of a tier are amounts."""
        if kind is int:
            return Annotated[int, Meta(ge=0, le=BIGGEST)]
        if kind is float:
            return Annotated[float, Meta(ge=0, le=1e12)]
        if kind == float | None:
            return Annotated[float, Meta(ge=0, le=1e12)] | None
        if kind == int | None:
            return Annotated[int, Meta(ge=0, le=BIGGEST)] | None
        return kind

    EXACT = {
        "algorithm_floor": Literal[5, 6, 7, 8],
        "luns": Annotated[int, Meta(ge=1, le=MOST_LUNS)],
        "iops": Annotated[float, Meta(ge=1, le=1e12)] | None,
        "iops_burst": Annotated[float, Meta(ge=1, le=1e12)] | None,
        "bytes_per_second": Annotated[int, Meta(ge=LEAST_BYTES_PER_SECOND, le=BIGGEST)] | None,
        "bytes_burst": Annotated[int, Meta(ge=1, le=BIGGEST)] | None,
        "warn_seconds": Annotated[float, Meta(ge=0, le=CENTURY)],
        "expiry_grace_seconds": Annotated[float, Meta(ge=0, le=CENTURY)],
        "lifetime_seconds": Annotated[float, Meta(ge=0, le=CENTURY)] | None,
        "sessions": Annotated[int, Meta(ge=1, le=BIGGEST)],
    }
    TierTerms = attrs.make_class(
        "TierTerms",
        {
            field.name: attrs.field(
                default=field.default, type=EXACT.get(field.name, _bounded(field.type)), kw_only=True
            )
            for field in attrs.fields(Tier)
            if field.name != "name"
        },
        frozen=True,
    )
    TierTerms.__doc__ = "What a kind of customer may use. Sizes are bytes, times are seconds."
    TierTerms.__module__ = __name__

ORDERS: tuple[Any, ...] = (
    LunOrder,
    TargetOrder,
    SuspendOrder,
    ResizeOrder,
    ExtendOrder,
    CertificateOrder,
    TenantOrder,
    TenantChange,
    TokenOrder,
    UploadOrder,
    FetchOrder,
    TierTerms,
)
