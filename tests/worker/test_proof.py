"""scsipub/worker/proof.py"""

import os

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from scsipub.worker.proof import MOST_NAMES, client_certificate_untrusted
from tests.support.certificates import Authority

AUTHORITY = Authority()


def der(pair):
    return load_pem_x509_certificate(pair.certificate).public_bytes(Encoding.DER)


def test_fingerprint_and_names_are_those_of_the_certificate():
    pair = AUTHORITY.pair("rack.example.org", "127.0.0.1", subject="node seven")
    proved = client_certificate_untrusted(der(pair))

    assert proved.fingerprint == pair.fingerprint
    assert proved.names == ("node seven", "rack.example.org")


def test_so_many_names_and_no_more():
    pair = AUTHORITY.pair(*(f"n{n}.example.org" for n in range(100)))

    assert len(client_certificate_untrusted(der(pair)).names) == MOST_NAMES


@pytest.mark.parametrize("noise", [b"", b"\x30", os.urandom(500)])
def test_noise_has_a_fingerprint_and_no_names(noise):
    assert client_certificate_untrusted(noise).names == ()


def test_a_certificate_cut_anywhere_is_noise():
    whole = der(AUTHORITY.pair())

    for end in range(0, len(whole), 7):
        client_certificate_untrusted(whole[:end])
