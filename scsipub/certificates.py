"""Certificates: a pair of PEM files becomes a TLS context, or a plain word why it does not.

Source: RFC 5280 (validity, names), RFC 6125 §6.4 (which host a certificate covers), RFC 9325 (versions and
cipher suites).  Knows files, ``ssl`` and ``cryptography``; no clock and no cache: ``now`` is an argument.

The two files are written by somebody else, not at once and perhaps at this moment.  So they are read once,
checked as bytes, and those very bytes go into the context, through a file that exists in memory only."""

import ipaddress
import itertools
import os
import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

# ECDHE and AEAD; TLS 1.3 has nothing else.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
# A chain of four with RSA-4096 keys has 8 KiB.
FILE_BYTES = 256 * 1024

# What stat says of each file.
Signature = tuple[tuple[int, ...], ...]


class Unusable(Exception):
    """The pair cannot be served; the text says why, in words for the operator."""


@attrs.frozen
class Files:
    """Where the pair is, and the authorities that client certificates may come from, if any may."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        both = (self.certificate, self.key)
        return both if self.client_ca is None else (*both, self.client_ca)


@attrs.frozen
class Pair:
    """The files as they were read, and ``signature``, which changes when one of them does."""

    certificate: bytes
    key: bytes = attrs.field(repr=False)
    signature: Signature
    client_ca: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """For our own processes only: there is a key in it."""
        files = (self.certificate, self.key, self.client_ca)
        return {"files": [file.decode("latin-1") for file in files], "signature": self.signature}

    @classmethod
    def from_json(cls, data: Any) -> "Pair":
        certificate, key, client_ca = (text.encode("latin-1") for text in data["files"])
        return cls(certificate, key, tuple(tuple(one) for one in data["signature"]), client_ca)


@attrs.frozen
class Loaded:
    """A context that may be served, until when, and what it was made of."""

    context: ssl.SSLContext
    pair: Pair = attrs.field(repr=False)
    not_after: datetime

    @property
    def signature(self) -> Signature:
        return self.pair.signature


def signature(files: Files) -> Signature:
    """What ``stat`` says of them.  Raises Unusable when one is not there."""
    try:
        return tuple(_identity(os.stat(path)) for path in files.all)
    except OSError as error:
        raise Unusable(f"{error.filename}: {error.strerror}") from None


def load(files: Files, hosts: Iterable[str], now: datetime) -> Loaded:
    """Read, check and build.  Raises Unusable, and then nothing has changed anywhere."""
    pair = read_pair(files)
    not_after = check(pair, hosts, now)
    return Loaded(server_context(pair), pair, not_after)


def read_pair(files: Files) -> Pair:
    """All of them.  A file that changes while it is read is not used."""
    before = signature(files)
    try:
        client_ca = _read(files.client_ca) if files.client_ca is not None else b""
        pair = Pair(_read(files.certificate), _read(files.key), before, client_ca)
    except OSError as error:
        raise Unusable(f"{error.filename}: {error.strerror}") from None
    if signature(files) != before:
        raise Unusable("the files change at this moment")
    return pair


def end_of(pair: Pair) -> datetime:
    """Until when a pair that was checked before is good."""
    return x509.load_pem_x509_certificate(pair.certificate).not_valid_after_utc


def check(pair: Pair, hosts: Iterable[str], now: datetime) -> datetime:
    """Is this what clients would accept at ``now`` under every name of ``hosts``?  Until when."""
    try:
        chain = x509.load_pem_x509_certificates(pair.certificate)
    except ValueError as error:
        raise Unusable(f"the certificate is not whole: {error}") from None
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
    except TypeError:
        raise Unusable("the key is locked with a passphrase") from None
    except Exception as error:  # UnsupportedAlgorithm, ValueError and what else a parser may raise
        raise Unusable(f"the key is not whole: {error}") from None
    leaf = chain[0]
    if _public(leaf.public_key()) != _public(key.public_key()):
        raise Unusable("the key belongs to another certificate")
    if now >= leaf.not_valid_after_utc:
        raise Unusable(f"the certificate has expired on {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    if now < leaf.not_valid_before_utc:
        raise Unusable(f"the certificate is good only from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
    for host in hosts:
        if not covers(leaf, host):
            raise Unusable(f"the certificate does not cover {host}")
    for issued, issuer in itertools.pairwise(chain):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise Unusable("the chain behind the certificate is that of another one") from None
    if pair.client_ca:
        try:
            x509.load_pem_x509_certificates(pair.client_ca)
        except ValueError as error:
            raise Unusable(f"the file of clients' authorities is not whole: {error}") from None
    return leaf.not_valid_after_utc


def covers(certificate: x509.Certificate, host: str) -> bool:
    """Whether a client that typed ``host`` accepts the names in the certificate.  RFC 6125 §6.4."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    except ValueError as error:
        raise Unusable(f"the names in the certificate cannot be read: {error}") from None
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        wanted = host.lower().rstrip(".")
        offered = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
        return wanted in offered or f"*.{wanted.partition('.')[2]}" in offered


def host_of(public_host: str) -> str:
    """``NAME`` of NAME:PORT, without the brackets of an IPv6 address."""
    if public_host.startswith("["):
        return public_host[1:].partition("]")[0]
    return public_host.partition(":")[0]


def server_context(pair: Pair) -> ssl.SSLContext:
    """TLS 1.2 or later, forward secrecy and AEAD only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    # No tickets: a session lasts for days and logs in once, and each worker would have keys of its own.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.num_tickets = 0
    if pair.client_ca:
        # Whoever has a certificate of theirs may show it; a wrong one ends the handshake.
        context.verify_mode = ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(cadata=pair.client_ca.decode("latin-1"))
        except (ssl.SSLError, ValueError) as error:
            raise Unusable(f"OpenSSL does not take the clients' authorities: {error}") from None
    fd = os.memfd_create("tls-pair", os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(pair.certificate + b"\n" + pair.key)
        context.load_cert_chain(f"/proc/self/fd/{fd}", password=_no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise Unusable(f"OpenSSL does not take the pair: {error}") from None
    finally:
        os.close(fd)
    return context


def _no_passphrase() -> NoReturn:
    """OpenSSL would ask the terminal."""
    raise ValueError("the key is locked with a passphrase")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise Unusable(f"{path} has more than {FILE_BYTES} bytes")
    return data


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
