"""Proof: what an initiator has proved in the TLS handshake, when it has shown a certificate.

Source: RFC 5280 §4.1.2.6 (subject), §4.2.1.6 (alternative names).  Pure.  OpenSSL has checked that one of the
operator's authorities has signed it; which tenant it stands for, control knows."""

import contextlib
import hashlib

from cryptography import x509
from cryptography.x509.oid import NameOID

from scsipub.target.descriptor import ClientCertificate

# What is longer, or comes after so many, is no name to go by.
NAME_CHARACTERS = 255
MOST_NAMES = 32


def client_certificate_untrusted(der: bytes) -> ClientCertificate:
    """Fingerprint and names.  Raises nothing: names that cannot be read are not there."""
    names: list[str] = []
    with contextlib.suppress(ValueError, x509.ExtensionNotFound, x509.InvalidVersion):
        certificate = x509.load_der_x509_certificate(der)
        for common in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
            names.append(str(common.value))
        offered = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for kind in (x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier):
            names += offered.get_values_for_type(kind)
    kept = tuple(dict.fromkeys(name for name in names if 0 < len(name) <= NAME_CHARACTERS))[:MOST_NAMES]
    return ClientCertificate(fingerprint=hashlib.sha256(der).hexdigest(), names=kept)
