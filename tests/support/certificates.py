"""Certificates for tests: an authority, and pairs that are good or wrong in one way each.

    authority = Authority()
    authority.pair("disks.example.org").write(cert, key)

P-256 keys, because they are made in no time."""

import datetime
import ipaddress
import os
import ssl
import tempfile
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@attrs.frozen
class Pair:
    """A chain and a key as PEM."""

    certificate: bytes
    key: bytes

    def write(self, certificate: Path, key: Path) -> None:
        """Each file replaced at once, as a careful program does it."""
        for path, data in ((certificate, self.certificate), (key, self.key)):
            new = path.with_name(path.name + ".new")
            new.write_bytes(data)
            os.replace(new, path)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hex."""
        return x509.load_pem_x509_certificate(self.certificate).fingerprint(hashes.SHA256()).hex()

    @property
    def serial(self) -> int:
        return x509.load_pem_x509_certificate(self.certificate).serial_number


class Authority:
    """Signs what it is asked to."""

    def __init__(self, name: str = "Authority of the tests") -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self._sign(self.name, self.key, (), now() - DAY, now() + 9 * DAY, authority=True)

    @property
    def pem(self) -> bytes:
        return _pem(self.certificate)

    def pair(
        self,
        *hosts: str,
        begins: datetime.datetime | None = None,
        ends: datetime.datetime | None = None,
        passphrase: bytes | None = None,
        subject: str = "tests",
    ) -> Pair:
        """A certificate for ``hosts``, with the authority's own behind it, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
        leaf = self._sign(name, key, hosts or ("localhost", "127.0.0.1"), begins or now() - DAY, ends)
        lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if passphrase:
            lock = serialization.BestAvailableEncryption(passphrase)
        return Pair(
            _pem(leaf) + self.pem,
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock),
        )

    def client_context(self, own: Pair | None = None) -> ssl.SSLContext:
        """A client's, which believes this authority, and shows ``own`` when asked."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        if own is not None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(own.certificate + own.key)
                file.flush()
                context.load_cert_chain(file.name)
        return context

    def _sign(self, subject, key, hosts, begins, ends, *, authority=False) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends or begins + 8 * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        return builder.sign(self.key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
