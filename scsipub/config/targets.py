"""``[[target]]``: a handful of disks of one's own, written in the configuration file.

Knows the rules a target must keep by itself; whether an image exists is asked when the daemon starts."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from scsipub.config import values
from scsipub.config.records import ChapUser, LunConfig, TargetConfig
from scsipub.config.tables import Parsers, read_row, rows
from scsipub.errors import OperatorError
from scsipub.limits import GiB
from scsipub.tiers import Tier

# Names that the daemon gives out itself, after the prefix.
_RESERVED = re.compile(r"blank|multi|image\..*")
# IANA "iSCSI authentication CHAP algorithms": the stronger, the larger.
ALGORITHMS = {"MD5": 5, "SHA-1": 6, "SHA-256": 7, "SHA3-256": 8}
_SPELLINGS = {name.replace("-", "").lower(): code for name, code in ALGORITHMS.items()}
_PHYSICAL = [1 << power for power in range(9, 17)]
_MOST_BYTES = 64 * 1024 * GiB


def algorithm(raw: object) -> int:
    """A CHAP algorithm by name, with or without the hyphen."""
    code = _SPELLINGS.get(raw.replace("-", "").lower()) if isinstance(raw, str) else None
    if code is None:
        raise values.NotAllowed(f"Use one of: {', '.join(ALGORITHMS)}.")
    return code


def _name(raw: object) -> str:
    if not isinstance(raw, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.:-]{0,222}", raw, re.ASCII):
        raise values.NotAllowed(
            "Use small letters, digits, and . : - only: some initiators make a folder of it."
        )
    return raw


def _image(raw: object) -> str:
    if not isinstance(raw, str) or not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", raw, re.ASCII):
        raise values.NotAllowed("Use the name of an image, as `scsipub image list` shows it.")
    return raw


def _block_size(raw: object) -> int:
    if raw not in (512, 4096) or isinstance(raw, bool):
        raise values.NotAllowed("Use 512 or 4096.")
    return int(str(raw))


def _physical_block_size(raw: object) -> int:
    if not isinstance(raw, int) or raw not in _PHYSICAL:
        raise values.NotAllowed(f"Use a power of two from {_PHYSICAL[0]} to {_PHYSICAL[-1]}.")
    return raw


def _initiators(raw: object) -> tuple[str, ...]:
    allowed = 'Use a list of iSCSI names; * stands for anything, as in "iqn.1993-08.org.debian:*".'
    if not isinstance(raw, list):
        raise values.NotAllowed(allowed)
    for word in raw:
        if not isinstance(word, str) or not re.fullmatch(r"[!-~]{1,223}", word, re.ASCII):
            raise values.NotAllowed(allowed)
    return tuple(raw)


def _list_of_tables(raw: object) -> list[dict[str, Any]]:
    if not isinstance(raw, list) or not all(isinstance(row, dict) for row in raw):
        raise values.NotAllowed('Use a list of tables, such as [{ size = "1 GiB" }].')
    return raw


def _tier(raw: object, tiers: Mapping[str, Tier]) -> str:
    if not isinstance(raw, str) or raw not in tiers:
        raise values.NotAllowed(f"Use one of: {', '.join(tiers)}.")
    return raw


_LUN: Parsers = {
    "lun": values.whole_number(0, 255),  # one level of peripheral addressing reaches no further; SAM-5 §4.7.7
    "image": _image,
    "size": functools.partial(values.size, least=4096, most=_MOST_BYTES),
    "read_only": values.yes_or_no,
    "removable": values.yes_or_no,
    "thin": values.yes_or_no,
    "block_size": _block_size,
    "physical_block_size": _physical_block_size,
    "unmap_ignores_pattern": values.yes_or_no,
}
_USER: Parsers = {
    "user": values.chap_name,
    "secret": values.secret,
    "mutual_user": values.chap_name,
    "mutual_secret": values.secret,
}
_TARGET: dict[str, Callable[[object], Any]] = {
    "name": _name,
    "alias": values.text,
    "luns": _list_of_tables,
    "users": _list_of_tables,
    "shared": values.yes_or_no,
    "algorithm_floor": algorithm,
    "initiators": _initiators,
    "sanitize_seconds": values.number(0, 86400),
    "nexus": values.one_of("name", "initiator-port"),
}


def read_targets(
    table: Mapping[str, Any], where: str, *, prefix: str, tiers: Mapping[str, Tier]
) -> tuple[TargetConfig, ...]:
    """Every ``[[target]]``, checked alone and against the others."""
    parsers = _TARGET | {"tier": functools.partial(_tier, tiers=tiers)}
    targets = [
        _target(read_row(row, parsers, here), here, prefix)
        for number, row in enumerate(rows(table, "target", where), 1)
        for here in [f"{where}: [[target]] {row.get('name', f'number {number}')}"]
    ]
    for name, times in Counter(target.name for target in targets).items():
        if times > 1:
            raise OperatorError(f"{where}: {times} targets are called {name}.", "Give each its own name.")
    return tuple(targets)


def _target(said: dict[str, Any], here: str, prefix: str) -> TargetConfig:
    if "name" not in said:
        raise OperatorError(f"{here} has no name.", 'Add one, such as name = "attic".')
    said["name"] = _whole_name(said["name"], here, prefix)
    said["luns"] = _luns(said.get("luns", []), here)
    said["users"] = _users(said.get("users", []), here)
    if "algorithm_floor" in said and not said["users"]:
        raise OperatorError(f"{here} has an algorithm_floor but no users.", "Add users, or drop the floor.")
    return TargetConfig(**said)


def _whole_name(name: str, here: str, prefix: str) -> str:
    if not name.startswith(("iqn.", "eui.", "naa.")):
        name = f"{prefix}:{name}"
    try:
        values.iscsi_name(name)
    except values.NotAllowed as no:
        raise OperatorError(f"{here}: {name} is no iSCSI name.", no.allowed) from None
    own = name.removeprefix(prefix + ":")
    if own != name and _RESERVED.fullmatch(own):
        raise OperatorError(f"{here}: {own} is a name we give out ourselves.", "Choose another name.")
    return name


def _luns(table: list[dict[str, Any]], here: str) -> tuple[LunConfig, ...]:
    luns: list[LunConfig] = []
    for number, row in enumerate(table):
        lun_here = f"{here}, luns[{number}]"
        said = {"lun": number} | read_row(row, _LUN, lun_here)
        if ("image" in said) == ("size" in said):
            raise OperatorError(f"{lun_here} needs an image or a size, and not both.", 'Say size = "1 GiB".')
        lun = LunConfig(**said)
        if lun.size is not None and lun.size % lun.block_size:
            raise OperatorError(
                f"{lun_here}: {lun.size} bytes are not whole blocks.", f"Blocks have {lun.block_size} bytes."
            )
        if lun.physical_block_size < lun.block_size:
            raise OperatorError(
                f"{lun_here}: physical_block_size is less than a block of {lun.block_size} bytes.",
                "A physical block holds one logical block or more.",
            )
        if lun.lun in {other.lun for other in luns}:
            raise OperatorError(f"{lun_here}: LUN {lun.lun} is taken.", "Give each its own number.")
        luns.append(lun)
    if 0 not in {lun.lun for lun in luns}:
        # SAM-5 §4.7.4: initiators ask LUN 0 which others there are.
        raise OperatorError(f"{here} has no LUN 0, where initiators look first.", "Give it luns, from 0 on.")
    return tuple(sorted(luns, key=lambda lun: lun.lun))


def _users(table: list[dict[str, Any]], here: str) -> tuple[ChapUser, ...]:
    users: list[ChapUser] = []
    for number, row in enumerate(table):
        user_here = f"{here}, users[{number}]"
        said = read_row(row, _USER, user_here)
        for key in ("user", "secret"):
            if key not in said:
                raise OperatorError(f"{user_here} has no {key}.", "A user has a name and a secret.")
        if ("mutual_user" in said) != ("mutual_secret" in said):
            raise OperatorError(
                f"{user_here} has half of what mutual CHAP needs.",
                "Set mutual_user and mutual_secret, or none.",
            )
        if said["user"] in {other.user for other in users}:
            raise OperatorError(f"{user_here}: {said['user']} is there twice.", "Give each user one entry.")
        users.append(ChapUser(**said))
    # RFC 7143 §9.2.1: one secret for both directions could be had from us by reflecting our own challenge.
    inward = {user.secret for user in users}
    if any(user.mutual_secret in inward for user in users):
        raise OperatorError(f"{here} has one secret for both directions.", "Use another for mutual_secret.")
    return tuple(users)
