"""COSE_Sign1: the protected header decides, and every way round it is refused."""

from collections.abc import Callable

import cbor2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from attest_pipeline.crypto import EcKey, RsaKey
from attest_pipeline.errors import BadEvidence, Reason
from attest_pipeline.verifiers._shared.cose import check_signature, read_key, read_point, read_sign1

CURVES: dict[int, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    -7: (ec.SECP256R1(), hashes.SHA256()),
    -35: (ec.SECP384R1(), hashes.SHA384()),
    -36: (ec.SECP521R1(), hashes.SHA512()),
}
KEYS = {algorithm: ec.generate_private_key(curve) for algorithm, (curve, _) in CURVES.items()}
RSA = rsa.generate_private_key(65537, 2048)
PAYLOAD = b"payload"
PROTECTED = cbor2.dumps({1: -35})


def signature(protected: bytes, key_of: int, payload: bytes = PAYLOAD) -> bytes:
    message = cbor2.dumps(["Signature1", protected, b"", payload])
    key, digest = KEYS[key_of], CURVES[key_of][1]
    size = (key.curve.key_size + 7) // 8
    return b"".join(part.to_bytes(size) for part in decode_dss_signature(key.sign(message, ec.ECDSA(digest))))


def sign1(*parts: object, tag: int = 18) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(tag, list(parts)))


def check(data: bytes, key: EcKey | RsaKey) -> bytes:
    message = read_sign1(data)
    check_signature(message, key, "message")
    return message.payload


def reason_of(call: Callable[[], object]) -> Reason:
    with pytest.raises(BadEvidence) as caught:
        call()
    return caught.value.reason


@pytest.mark.parametrize("algorithm", CURVES)
def test_each_curve_verifies_with_its_own_algorithm(algorithm: int) -> None:
    protected = cbor2.dumps({1: algorithm})
    data = sign1(protected, {}, PAYLOAD, signature(protected, algorithm))
    assert check(data, EcKey(KEYS[algorithm].public_key())) == PAYLOAD


def test_rsa_verifies_with_ps256() -> None:
    protected = cbor2.dumps({1: -37})
    message = cbor2.dumps(["Signature1", protected, b"", PAYLOAD])
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    data = sign1(protected, {}, PAYLOAD, RSA.sign(message, pss, hashes.SHA256()))
    assert check(data, RsaKey(RSA.public_key())) == PAYLOAD


@pytest.mark.parametrize("named", [-7, -36, -37, -8, "ES384", None])
def test_an_algorithm_that_the_key_is_not_for_fails_although_the_signature_holds(named: object) -> None:
    protected = cbor2.dumps({1: named})
    data = sign1(protected, {}, PAYLOAD, signature(protected, -35))
    assert reason_of(lambda: check(data, EcKey(KEYS[-35].public_key()))) is Reason.BAD_SIGNATURE


def test_an_rsa_key_does_not_verify_under_the_name_of_another_algorithm() -> None:
    message = cbor2.dumps(["Signature1", PROTECTED, b"", PAYLOAD])
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    data = sign1(PROTECTED, {}, PAYLOAD, RSA.sign(message, pss, hashes.SHA256()))
    assert reason_of(lambda: check(data, RsaKey(RSA.public_key()))) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("protected", [b"\xa0", cbor2.dumps({3: "application/eat+cwt"})])
def test_a_protected_header_without_algorithm_fails(protected: bytes) -> None:
    data = sign1(protected, {}, PAYLOAD, signature(protected, -35))
    assert reason_of(lambda: check(data, EcKey(KEYS[-35].public_key()))) is Reason.BAD_SIGNATURE


@pytest.mark.parametrize("size", [0, 95, 97, 192])
def test_a_signature_of_the_wrong_length_fails(size: int) -> None:
    raw = (signature(PROTECTED, -35) * 2)[:size]
    assert reason_of(lambda: check(sign1(PROTECTED, {}, PAYLOAD, raw), EcKey(KEYS[-35].public_key()))) is (
        Reason.BAD_SIGNATURE
    )


def test_a_der_signature_is_no_cose_signature() -> None:
    message = cbor2.dumps(["Signature1", PROTECTED, b"", PAYLOAD])
    data = sign1(PROTECTED, {}, PAYLOAD, KEYS[-35].sign(message, ec.ECDSA(hashes.SHA384())))
    assert reason_of(lambda: check(data, EcKey(KEYS[-35].public_key()))) is Reason.BAD_SIGNATURE


def test_the_protected_header_is_signed_as_received_not_as_it_could_be_written() -> None:
    long_form = b"\xb8\x01\x01\x38\x22"
    data = sign1(long_form, {}, PAYLOAD, signature(long_form, -35))
    assert check(data, EcKey(KEYS[-35].public_key())) == PAYLOAD
    rewritten = sign1(PROTECTED, {}, PAYLOAD, signature(long_form, -35))
    assert reason_of(lambda: check(rewritten, EcKey(KEYS[-35].public_key()))) is Reason.BAD_SIGNATURE


SIGNATURE = signature(PROTECTED, -35)


@pytest.mark.parametrize(
    "data",
    [
        sign1(PROTECTED, {}, PAYLOAD, SIGNATURE, tag=98),
        cbor2.dumps([PROTECTED, {}, PAYLOAD, SIGNATURE]),
        sign1(PROTECTED, {}, PAYLOAD),
        sign1(PROTECTED, {}, PAYLOAD, SIGNATURE, b""),
        sign1(PROTECTED, {}, None, SIGNATURE),
        sign1(PROTECTED, {}, "payload", SIGNATURE),
        sign1(PROTECTED, [], PAYLOAD, SIGNATURE),
        sign1(PROTECTED, {}, PAYLOAD, None),
        sign1({1: -35}, {}, PAYLOAD, SIGNATURE),
        sign1(b"", {}, PAYLOAD, SIGNATURE),
        sign1(b"\x80", {}, PAYLOAD, SIGNATURE),
        sign1(PROTECTED + b"\x00", {}, PAYLOAD, SIGNATURE),
        sign1(b"\xa2\x01\x38\x22\x01\x38\x22", {}, PAYLOAD, SIGNATURE),
        sign1(PROTECTED, {1: -7}, PAYLOAD, SIGNATURE),
        sign1(cbor2.dumps({4: b"kid", 1: -35}), {4: b"kid"}, PAYLOAD, SIGNATURE),
        sign1(cbor2.dumps({1: -35, 2: [99], 99: 1}), {}, PAYLOAD, SIGNATURE),
        sign1(cbor2.dumps({1: -35, 2: []}), {}, PAYLOAD, SIGNATURE),
        sign1(cbor2.dumps({1: -35, 99: 1}), {}, PAYLOAD, SIGNATURE),
        sign1(PROTECTED, {2: [1]}, PAYLOAD, SIGNATURE),
        sign1(PROTECTED, {11: b""}, PAYLOAD, SIGNATURE),
    ],
)
def test_a_message_that_breaks_the_profile_is_malformed(data: bytes) -> None:
    assert reason_of(lambda: read_sign1(data)) is Reason.MALFORMED


def test_an_algorithm_in_the_unprotected_header_alone_is_malformed() -> None:
    data = sign1(b"\xa0", {1: -35}, PAYLOAD, signature(b"\xa0", -35))
    assert reason_of(lambda: read_sign1(data)) is Reason.MALFORMED


def test_a_key_id_in_the_unprotected_header_is_ignored() -> None:
    data = sign1(PROTECTED, {4: b"kid"}, PAYLOAD, SIGNATURE)
    assert check(data, EcKey(KEYS[-35].public_key())) == PAYLOAD


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
NUMBERS = KEYS[-35].public_key().public_numbers()
X, Y = NUMBERS.x.to_bytes(48), NUMBERS.y.to_bytes(48)


def test_a_cose_key_is_the_same_key_as_its_point() -> None:
    expected = EcKey(KEYS[-35].public_key()).spki
    assert read_key(cbor2.dumps({1: 2, -1: 2, -2: X, -3: Y})).spki == expected
    assert read_point("P-384", b"\x04" + X + Y).spki == expected


@pytest.mark.parametrize(
    "key",
    [
        {1: 1, -1: 2, -2: X, -3: Y},
        {1: 2, -1: 1, -2: X, -3: Y},
        {1: 2, -1: 8, -2: X, -3: Y},
        {1: 2, -1: 2, -2: X, -3: True},
        {1: 2, -1: 2, -2: X},
        {1: 2, -1: 2, -2: X, -3: Y[:-1]},
        {1: 2, -1: 2, -2: X, -3: X},
        [1, 2],
    ],
)
def test_a_cose_key_that_is_no_whole_point_on_its_curve_is_malformed(key: object) -> None:
    assert reason_of(lambda: read_key(cbor2.dumps(key))) is Reason.MALFORMED


@pytest.mark.parametrize("point", [b"", b"\x00", b"\x02" + X, b"\x04" + X, b"\x04" + X + X])
def test_bytes_that_are_no_uncompressed_point_are_malformed(point: bytes) -> None:
    assert reason_of(lambda: read_point("P-384", point)) is Reason.MALFORMED
