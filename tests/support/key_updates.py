"""TLS 1.3 key updates without end: records that carry no data and cost the receiver work.

Source: RFC 8446 §4.6.3, §5.2, §7.1 to §7.3.  Python's client cannot send them, so they are made here from the
traffic secret that OpenSSL writes to a key log."""

import struct
from collections.abc import Iterator

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HANDSHAKE, APPLICATION_DATA = 22, 23
# KeyUpdate, length 1, update_requested.
MESSAGE = bytes([24, 0, 0, 1, 1])


def secret_of(key_log: str) -> bytes:
    """CLIENT_TRAFFIC_SECRET_0 of the only connection in the log."""
    lines = [line.split() for line in key_log.splitlines()]
    return next(bytes.fromhex(words[2]) for words in lines if words[0] == "CLIENT_TRAFFIC_SECRET_0")


def key_updates(secret: bytes) -> Iterator[bytes]:
    """Records, each the first under its own keys.  For TLS_AES_256_GCM_SHA384."""
    while True:
        key, iv = _expand(secret, b"key", 32), _expand(secret, b"iv", 12)
        plain = MESSAGE + bytes([HANDSHAKE])
        head = struct.pack(">BHH", APPLICATION_DATA, 0x0303, len(plain) + 16)
        yield head + AESGCM(key).encrypt(iv, plain, head)
        secret = _expand(secret, b"traffic upd", 48)


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context."""
    label = b"tls13 " + label
    info = struct.pack(">HB", length, len(label)) + label + b"\0"
    return HKDFExpand(hashes.SHA384(), length, info).derive(secret)
