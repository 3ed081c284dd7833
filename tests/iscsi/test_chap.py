"""CHAP's sums, secrets and binary values."""

import ast
import base64
import inspect
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import OperatorError, PduRejected
from scsipub.iscsi import chap
from scsipub.iscsi.constants import ChapAlgorithm
from scsipub.iscsi.login_records import AskSecrets, SecretsVerdict
from tests.support.login_talk import ALICE, MUTUAL_NAME, MUTUAL_SECRET, SECRET

ALGORITHMS = list(ChapAlgorithm)
CHALLENGE = bytes(range(32))


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        # md5sum, sha1sum, sha256sum and openssl dgst -sha3-256 of "\x07" "secret of twelve" "\x00\x01...\x1f"
        (ChapAlgorithm.MD5, "b316edb753d43046f1776ae75aa05259"),
        (ChapAlgorithm.SHA1, "cbd2950b7434c40ee9b75fb6e5f65dd917b62993"),
        (ChapAlgorithm.SHA256, "1bf23b78aa04c5fcdd12f1ee0b5088d47fcef1be9bbe4973ddefa1d328864c27"),
        (ChapAlgorithm.SHA3_256, "42df40e7a1f7fc656651bd625e2591a219d84973795403e7ae16c532c1f02b95"),
    ],
)
def test_the_response_is_the_hash_of_identifier_secret_and_challenge(
    algorithm: ChapAlgorithm, expected: str
) -> None:
    """RFC 1994 §4.1, with the algorithms of IANA's registry."""
    assert chap.digest(algorithm, 7, b"secret of twelve", CHALLENGE).hex() == expected


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_digest_has_the_length_its_algorithm_says(algorithm: ChapAlgorithm) -> None:
    """A response of another length is refused before it is compared."""
    assert len(chap.digest(algorithm, 1, b"s", CHALLENGE)) == chap.DIGEST_LENGTHS[algorithm]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_the_right_response_is_right(algorithm: ChapAlgorithm) -> None:
    """A difference in the first byte, in the last, in the identifier; no secret at all."""
    right = chap.digest(algorithm, 7, SECRET, CHALLENGE)

    assert chap.verify(algorithm, 7, SECRET, CHALLENGE, right)
    assert not chap.verify(algorithm, 7, SECRET, CHALLENGE, bytes((right[0] ^ 1,)) + right[1:])
    assert not chap.verify(algorithm, 7, SECRET, CHALLENGE, right[:-1] + bytes((right[-1] ^ 1,)))
    assert not chap.verify(algorithm, 8, SECRET, CHALLENGE, right)
    assert not chap.verify(algorithm, 7, SECRET, CHALLENGE, b"")
    assert not chap.verify(algorithm, 7, None, CHALLENGE, right)


def test_an_unknown_user_takes_the_same_path_as_a_wrong_secret() -> None:
    """Same work, same verdict; responses are compared in constant time, as bytes."""
    question = AskSecrets(
        chap_name="x", algorithm=ChapAlgorithm.MD5, identifier=1, challenge=CHALLENGE, response=bytes(16)
    )

    assert chap.judge(question, None) == chap.judge(question, ALICE) == SecretsVerdict(ok=False)
    assert "compare_digest(expected, response)" in inspect.getsource(chap.verify)
    # Not even someone who knows what is summed for nobody gets in as nobody.
    nobody = chap.digest(ChapAlgorithm.MD5, 1, b"there is no such user", CHALLENGE)
    assert not chap.verify(ChapAlgorithm.MD5, 1, None, CHALLENGE, nobody)


def test_we_prove_ourselves_only_to_who_has_proved_himself() -> None:
    """RFC 7143 §12.1.3: the mutual response comes with a right verdict and never without."""
    right = chap.digest(ChapAlgorithm.SHA256, 1, SECRET, CHALLENGE)
    theirs = bytes(reversed(CHALLENGE))

    def question(response: bytes) -> AskSecrets:
        return AskSecrets(
            chap_name="alice",
            algorithm=ChapAlgorithm.SHA256,
            identifier=1,
            challenge=CHALLENGE,
            response=response,
            mutual=(9, theirs),
        )

    assert chap.judge(question(right), ALICE) == SecretsVerdict(
        ok=True,
        principal="tenant-1",
        mutual_name=MUTUAL_NAME,
        mutual_response=chap.digest(ChapAlgorithm.SHA256, 9, MUTUAL_SECRET, theirs),
    )
    assert chap.judge(question(bytes(32)), ALICE) == SecretsVerdict(ok=False)
    one_way = chap.Account(principal="p", secret=SECRET)
    assert chap.judge(question(right), one_way) == SecretsVerdict(ok=False)


def test_a_floor_leaves_out_what_is_weaker() -> None:
    """Strongest first, whatever the floor."""
    assert chap.at_least(ChapAlgorithm.MD5) == (8, 7, 6, 5)
    assert chap.at_least(ChapAlgorithm.SHA256) == (8, 7)
    assert chap.at_least(ChapAlgorithm.SHA3_256) == (8,)


@pytest.mark.parametrize(("length", "fits"), [(0, False), (11, False), (12, True), (255, True), (256, False)])
def test_a_secret_has_at_least_96_bits_in_either_direction(length: int, fits: bool) -> None:
    """RFC 7143 §9.2.1: refused at configuration, not at login."""
    for secrets in ((b"s" * length,), (b"t" * 12, b"s" * length)):
        if fits:
            chap.check_secrets(*secrets)
        else:
            with pytest.raises(OperatorError):
                chap.check_secrets(*secrets)


def test_the_secrets_of_both_directions_differ() -> None:
    """RFC 7143 §9.2.1: else one side could be made to answer its own challenge."""
    with pytest.raises(OperatorError):
        chap.check_secrets(b"the same secret", b"the same secret")


def test_secrets_we_make_have_16_characters_and_96_bits() -> None:
    """Windows takes 12 to 16 characters; every value of a byte finds its character."""
    assert len(set(chap.SECRET_ALPHABET)) == 64
    secrets = {chap.generate_secret(os.urandom) for _ in range(100)}
    assert len(secrets) == 100
    for secret in secrets:
        assert len(secret) == 16 and set(secret) <= set(chap.SECRET_ALPHABET)
        chap.check_secrets(secret.encode())


def test_a_secret_is_not_in_what_is_printed() -> None:
    """A traceback or a log line may show the record."""
    assert "correct" not in repr(ALICE) and "battery" not in repr(ALICE)


@given(st.binary(min_size=1, max_size=70))
def test_both_notations_of_a_binary_value_are_read(value: bytes) -> None:
    """RFC 7143 §6.1: hex in either case, base64 with its padding or without."""
    based = base64.b64encode(value).decode()
    for text in (
        chap.encode_binary(value),
        "0X" + value.hex().upper(),
        "0b" + based,
        "0B" + based,
        "0b" + based.rstrip("="),
    ):
        assert chap.decode_binary_untrusted(text, 70) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0x",
        "0b",
        "17",
        "abcd",
        "0xzz",
        "0x 12",
        "0x12 34",
        "0b!!!!",
        "0bAAAA\n",
        "0bA",
        "0b====",
        "0x" + "00" * 17,
        "0b" + "A" * 127,
        "0b" + "A" * 24,
        "0x٣٤",
    ],
)
def test_what_is_no_binary_value_of_that_size_is_refused(text: str) -> None:
    """Nothing longer than the bound is even decoded."""
    with pytest.raises(PduRejected):
        chap.decode_binary_untrusted(text, 16)


def test_an_odd_number_of_digits_has_a_zero_in_front() -> None:
    """RFC 7143 §6.1: a hex constant is a number."""
    assert chap.decode_binary_untrusted("0x123", 16) == b"\x01\x23"


def test_nothing_secret_is_compared_byte_by_byte() -> None:
    """How long ``==`` takes tells how many bytes were right."""
    tree = ast.parse(inspect.getsource(chap.verify)), ast.parse(inspect.getsource(chap.judge))
    compared = [
        node
        for part in tree
        for node in ast.walk(part)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq | ast.In)
    ]

    assert compared == []
    assert "hmac.compare_digest(expected, response)" in inspect.getsource(chap.verify)
