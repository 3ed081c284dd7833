"""Who a logical unit is: names that are the same on every path and after every restart, and differ per
overlay.

Source: SPC-4 §7.8.6 (designators), RFC 7143 §4.2.7 and RFC 3980 (names), IEEE guidelines for EUI-64.
Everything is derived from the 16-byte UUID of the unit; nothing is stored.

scsipub owns no IEEE company id.  The id used has the locally-administered bit set, as an own-made MAC address
would, and the rest is a hash of the UUID, so two units meet with a chance of 2^-100 (NAA) or 2^-40
(EUI-64)."""

import hashlib

import attrs

LOCAL_COMPANY_ID = 0x02_5C_51  # 02h: locally administered, not a multicast group


@attrs.frozen(kw_only=True)
class UnitConfig:
    """Everything about a unit that does not change while it is attached."""

    uuid: bytes  # 16 bytes
    vendor: str = "SCSIPUB"
    product: str = "DISK"
    revision: str = "0001"
    block_size: int = 512
    physical_exponent: int = attrs.field()  # 2^n logical blocks per physical one
    thin: bool = True
    read_only: bool = False
    removable: bool = False
    write_cache: bool = True  # WCE: GOOD may come before the data is on stable media
    rotation_rate: int = 1  # 1: non-rotating
    target_name: str = "iqn.2025-01.pub.scsipub:none"
    target_ports: int = (
        1  # numbered from 1; each is a portal group of iSCSI and a target port group of its own
    )
    max_transfer_bytes: int = 32 * 1024 * 1024
    max_write_same_bytes: int = 64 * 1024 * 1024
    max_unmap_bytes: int = 1024 * 1024 * 1024
    sanitize_seconds: float = 0.0  # stretch SANITIZE to at least this long
    # WRITE SAME with UNMAP=1 and a pattern that is not zero: SBC-3 has the pattern written, because later
    # reads must return it.  Some test tools want it unmapped all the same.
    unmap_ignores_pattern: bool = False

    @physical_exponent.default
    def _page_of_the_host(self) -> int:
        return 3 if self.block_size == 512 else 0

    def __attrs_post_init__(self) -> None:
        if len(self.uuid) != 16:
            raise ValueError("a unit's uuid has 16 bytes")
        if self.block_size not in (512, 4096):
            raise ValueError("blocks have 512 or 4096 bytes")
        if not 0 <= self.physical_exponent <= 15:
            raise ValueError("physical_exponent is 0..15")
        for what, size in (("vendor", 8), ("product", 16), ("revision", 4)):
            text = getattr(self, what)
            if not (1 <= len(text) <= size and text.isascii() and text.isprintable()):
                raise ValueError(f"{what} must be 1..{size} printable ASCII characters")

    @property
    def serial(self) -> str:
        return self.uuid.hex()

    @property
    def naa6(self) -> bytes:
        """NAA IEEE Registered Extended: 4 bits of type, 24 of company, 100 of our own."""
        own = int.from_bytes(self._hash("naa")[:13], "big") >> 4
        return (0x6 << 124 | LOCAL_COMPANY_ID << 100 | own).to_bytes(16, "big")

    @property
    def eui64(self) -> bytes:
        return LOCAL_COMPANY_ID.to_bytes(3, "big") + self._hash("eui64")[:5]

    @property
    def t10(self) -> bytes:
        return self.vendor.ljust(8).encode("ascii") + self.serial.encode("ascii")

    @property
    def scsi_name(self) -> str:
        """The unit's own name: the NAA one in the form of a SCSI name string.  SPC-4 §7.8.6.11."""
        return "naa." + self.naa6.hex().upper()

    def _hash(self, purpose: str) -> bytes:
        return hashlib.sha256(b"scsipub " + purpose.encode() + b" " + self.uuid).digest()
