"""Bounds of what a request may say: the OpenAPI document shows them, and each request is held against them.

Patterns are of the kind that Python and ECMA 262 read alike."""

from typing import Annotated

from litestar.params import HeaderParameter, PathParameter, QueryParameter
from msgspec import Meta

MOST_ITEMS = 200
FEW_ITEMS = 50
LONGEST_CURSOR = 400
MOST_LUNS = 256
MOST_INITIATORS = 64
BIGGEST = 1 << 56  # bytes of a disk: 64 PiB
CENTURY = 100 * 365.25 * 86400

NAME = "^[a-z0-9][a-z0-9.-]{0,62}$"
PLAIN = r"^[^\x00-\x1f\x7f]*$"

# -- in bodies -----------------------------------------------------------------------------------------------

Name = Annotated[str, Meta(pattern=NAME, description="Small letters, digits, `.` and `-`.")]
ImageName = Annotated[str, Meta(min_length=1, max_length=64, pattern=PLAIN, description="An image's name.")]
Size = Annotated[int, Meta(ge=512, le=BIGGEST, description="Bytes; made up to whole blocks.")]
Seconds = Annotated[float, Meta(gt=0, le=CENTURY, description="Seconds from now.")]
Iqn = Annotated[str, Meta(pattern="^[!-~]{1,223}$", description="An iSCSI name; `*` stands for anything.")]
Text = Annotated[str, Meta(max_length=200, pattern=PLAIN)]
Label = Annotated[str, Meta(max_length=64, pattern=PLAIN)]
TenantName = Annotated[
    str, Meta(pattern="^[a-z0-9.-]{1,63}$", description="A tenant's id or name; a tenant leaves it out.")
]

Identity = Annotated[
    str,
    Meta(
        pattern="^(sha256:[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}|name:[!-~]([ -~]{0,253}[!-~])?)$",
        description="`sha256:` and a certificate's fingerprint, or `name:` and a name in it (CN or SAN).",
    ),
]
Sha256 = Annotated[str, Meta(pattern="^[0-9A-Fa-f]{64}$", description="Of what comes in, as published.")]
FileName = Annotated[
    str, Meta(max_length=255, pattern=PLAIN, description="Says name, format and packing if you do not.")
]
Url = Annotated[str, Meta(max_length=2000, pattern="^https?://[!-~]+$", description="http:// or https://.")]

# -- in addresses and headers --------------------------------------------------------------------------------

Limit = Annotated[int, QueryParameter(ge=1, le=MOST_ITEMS, description="How many at most.")]
After = Annotated[
    str | None,
    QueryParameter(max_length=LONGEST_CURSOR, pattern=PLAIN, description="`next` of the page before."),
]
# What does not look like an id is not there: 404, as for any other that is not.
TargetId = Annotated[
    str,
    PathParameter(max_length=255, pattern=PLAIN, description="A target's `id`, or its whole iSCSI name."),
]
Lun = Annotated[int, PathParameter(ge=0, le=255, description="The number of a logical unit.")]
SessionId = Annotated[str, PathParameter(max_length=255, pattern=PLAIN, description="`id` of a session.")]
TenantId = Annotated[
    str, PathParameter(max_length=255, pattern=PLAIN, description="A tenant's `id` or name.")
]
CertificateId = Annotated[
    str, PathParameter(max_length=255, pattern=PLAIN, description="`id` of a tenant's certificate.")
]
ImageInPath = Annotated[str, PathParameter(max_length=255, pattern=PLAIN, description="`name` of an image.")]
TokenId = Annotated[str, PathParameter(max_length=255, pattern=PLAIN, description="`id` of a token.")]
TierName = Annotated[str, PathParameter(pattern=NAME, description="`name` of a tier.")]
ImportId = Annotated[
    str, PathParameter(max_length=255, pattern=PLAIN, description="`id` of an upload, and of its import.")
]
UploadOffset = Annotated[
    int,
    HeaderParameter(name="Upload-Offset", ge=0, le=10**15, description="Bytes that are there already."),
]
OfTenant = Annotated[
    str | None,
    QueryParameter(
        name="tenant", max_length=255, pattern=PLAIN, description="Only this tenant's: id or name."
    ),
]
OfTarget = Annotated[
    str | None,
    QueryParameter(
        name="target", max_length=255, pattern=PLAIN, description="Only of this target: id or name."
    ),
]
Key = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        pattern="^[!-~]{1,128}$",
        description="Of your making. Who asks the same again with the same key, within a day, is given the "
        "same answer, and nothing is made twice.",
    ),
]
