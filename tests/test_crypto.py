import hashlib
import random
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from attest_pipeline.crypto import CURVES, EcKey, RsaKey, UnusableKey, load_point, load_spki, wrap

ORDERS: Final = {
    "P-256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "P-384": int("F" * 48 + "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
    "P-521": int("1" + "F" * 65 + "A51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409", 16),
}
HASHES: Final = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
MESSAGE: Final = b"what was signed"


class Pair(NamedTuple):
    """A key as `cryptography` has it, and behind the seam."""

    private: ec.EllipticCurvePrivateKey
    key: EcKey


@pytest.fixture(scope="module", params=CURVES)
def pair(request: pytest.FixtureRequest) -> Pair:
    private = ec.generate_private_key(CURVES[request.param])
    return Pair(private, EcKey(private.public_key()))


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def spki(public: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> bytes:
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def reference(pair: Pair, signature: bytes, message: bytes, hash_name: str) -> bool:
    """The answer of OpenSSL."""
    try:
        pair.private.public_key().verify(signature, message, ec.ECDSA(HASHES[hash_name]))
    except InvalidSignature:
        return False
    return True


def variants(pair: Pair, signature: bytes) -> Iterator[bytes]:
    """The signature, and every way to spoil it that has fooled somebody's parser."""
    r, s = decode_dss_signature(signature)
    order, dice = ORDERS[pair.key.curve], random.Random(7)
    yield signature
    numbers = ((0, s), (r, 0), (0, 0), (r + order, s), (r, s + order), (r, order - s), (order, s), (s, r))
    yield from (encode_dss_signature(*pair_of) for pair_of in numbers)
    yield b"\x30\x06\x02\x01\xff\x02\x01\x01"  # r = -1
    yield from (
        b"",
        signature[:-1],
        signature[1:],
        signature + b"\0",
        b"\x30\x00",
        signature[:2],
        bytes(len(signature)),
    )
    for _ in range(60):
        position = dice.randrange(len(signature) * 8)
        flipped = bytearray(signature)
        flipped[position // 8] ^= 1 << position % 8
        yield bytes(flipped)


@pytest.mark.parametrize("hash_name", HASHES)
def test_the_seam_and_openssl_agree_on_every_spoiled_signature(pair: Pair, hash_name: str) -> None:
    accepted = 0
    signature = pair.private.sign(MESSAGE, ec.ECDSA(HASHES[hash_name]))
    for variant in variants(pair, signature):
        answer = pair.key.verify_der(variant, MESSAGE, hash_name)
        assert answer is reference(pair, variant, MESSAGE, hash_name), variant.hex()
        accepted += answer
    assert accepted == 2, "the signature itself, and the same with n - s"


def test_the_seam_and_openssl_agree_on_random_signatures_and_messages(pair: Pair) -> None:
    dice = random.Random(11)
    for _ in range(40):
        message = dice.randbytes(dice.randrange(200))
        signature = pair.private.sign(message, ec.ECDSA(hashes.SHA384()))
        assert pair.key.verify_der(signature, message, "sha384")
        assert not pair.key.verify_der(signature, message + b"\0", "sha384")
        assert not pair.key.verify_der(signature, message, "sha256")


def test_another_key_of_the_curve_does_not_verify(pair: Pair) -> None:
    stranger = ec.generate_private_key(pair.private.curve)
    assert not pair.key.verify_der(stranger.sign(MESSAGE, ec.ECDSA(hashes.SHA256())), MESSAGE, "sha256")


def test_raw_signatures_are_exactly_two_numbers_long(pair: Pair) -> None:
    size = pair.key.size
    r, s = decode_dss_signature(pair.private.sign(MESSAGE, ec.ECDSA(hashes.SHA384())))
    raw = r.to_bytes(size) + s.to_bytes(size)
    assert pair.key.verify_raw(raw, MESSAGE, "sha384")
    spoiled = (b"", raw[:-1], raw[1:], raw + b"\0", b"\0" + raw, bytes(2 * size), raw[:size] + bytes(size), raw[size:])
    assert not any(pair.key.verify_raw(variant, MESSAGE, "sha384") for variant in spoiled)
    assert not pair.key.verify_raw(raw[size:] + raw[:size], MESSAGE, "sha384")
    assert not pair.key.verify_raw(b"\xff" * 2 * size, MESSAGE, "sha384")


def test_two_numbers_may_have_zeros_before_them_or_none(pair: Pair) -> None:
    size = pair.key.size
    for number in range(300):  # among which some begin with a zero by chance
        message = number.to_bytes(2)
        r, s = decode_dss_signature(pair.private.sign(message, ec.ECDSA(hashes.SHA384())))
        assert pair.key.verify_raw(r.to_bytes(size) + s.to_bytes(size), message, "sha384")
    for width in ((max(r, s).bit_length() + 7) // 8, size + 3):
        assert pair.key.verify_pair(r.to_bytes(width), s.to_bytes(width), message, "sha384")
    for nothing in (b"", b"\0", bytes(size)):
        assert not pair.key.verify_pair(nothing, s.to_bytes(size), message, "sha384")
        assert not pair.key.verify_pair(r.to_bytes(size), nothing, message, "sha384")


def test_keys_are_equal_by_their_spki_however_they_came_in(pair: Pair) -> None:
    public = pair.private.public_key()
    point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    loaded = load_spki(spki(public))
    assert isinstance(loaded, EcKey)
    assert loaded.spki == load_point(pair.key.curve, point).spki == pair.key.spki == spki(public)
    assert (loaded.curve, loaded.size) == (pair.key.curve, (public.curve.key_size + 7) // 8)


def test_a_point_off_the_curve_is_no_key(pair: Pair) -> None:
    public = pair.private.public_key()
    point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    der, size = spki(public), pair.key.size
    off = point[:-1] + bytes((point[-1] ^ 1,))
    too_large = b"\x04" + b"\xff" * 2 * size
    for bad in (off, too_large, point[:-1], point + b"\0", b"\x04" + bytes(2 * size), b"\0", b"", b"\x05" + point[1:]):
        with pytest.raises(UnusableKey):
            load_point(pair.key.curve, bad)
    with pytest.raises(UnusableKey):
        load_spki(der[:-1] + bytes((der[-1] ^ 1,)))


def test_only_uncompressed_points_are_taken(pair: Pair) -> None:
    public = pair.private.public_key()
    compressed = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    with pytest.raises(UnusableKey):
        load_point(pair.key.curve, compressed)


def test_keys_of_other_kinds_and_sizes_are_unusable() -> None:
    unusable = (
        spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
        spki(ec.generate_private_key(ec.SECP224R1()).public_key()),
        spki(ed25519.Ed25519PrivateKey.generate().public_key()),
        spki(rsa.generate_private_key(65537, 1024).public_key()),  # noqa: S505 - that is the point
        b"",
        b"no key",
        b"\x30\x00",
    )
    for der in unusable:
        with pytest.raises(UnusableKey):
            load_spki(der)
    with pytest.raises(UnusableKey):
        wrap(object())


def test_an_altered_spki_is_another_key_or_none(pair: Pair) -> None:
    der, dice = pair.key.spki, random.Random(3)
    for _ in range(200):
        altered = bytearray(der)
        altered[dice.randrange(len(der))] ^= 1 << dice.randrange(8)
        try:
            key = load_spki(bytes(altered))
        except UnusableKey:
            continue
        assert key.spki != der


@pytest.mark.parametrize("hash_name", HASHES)
def test_rsa_signatures_verify_under_their_own_scheme_only(rsa_key: rsa.RSAPrivateKey, hash_name: str) -> None:
    key, algorithm = RsaKey(rsa_key.public_key()), HASHES[hash_name]
    salt = algorithm.digest_size
    pss = rsa_key.sign(MESSAGE, padding.PSS(padding.MGF1(algorithm), salt), algorithm)
    pkcs1 = rsa_key.sign(MESSAGE, padding.PKCS1v15(), algorithm)
    assert key.verify_pss(pss, MESSAGE, hash_name, salt)
    assert key.verify_pkcs1(pkcs1, MESSAGE, hash_name)
    assert not key.verify_pss(pss, MESSAGE, hash_name, salt - 1)
    assert not key.verify_pss(pkcs1, MESSAGE, hash_name, salt)
    assert not key.verify_pkcs1(pss, MESSAGE, hash_name)
    for spoiled in (b"", pss[:-1], pss + b"\0", bytes(len(pss)), b"\xff" * len(pss), pss[:9] + b"\0" + pss[10:]):
        assert not key.verify_pss(spoiled, MESSAGE, hash_name, salt)
        assert not key.verify_pkcs1(spoiled, MESSAGE, hash_name)


def test_rsa_with_another_mask_or_hash_is_refused(rsa_key: rsa.RSAPrivateKey) -> None:
    key = RsaKey(rsa_key.public_key())
    other_mask = rsa_key.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 48), hashes.SHA384())
    assert not key.verify_pss(other_mask, MESSAGE, "sha384", 48)
    assert not key.verify_pkcs1(rsa_key.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256()), MESSAGE, "sha384")


def test_an_rsa_key_whose_exponent_would_make_each_check_dear_is_refused(rsa_key: rsa.RSAPrivateKey) -> None:
    modulus = rsa_key.public_key().public_numbers().n
    assert RsaKey(rsa.RSAPublicNumbers((1 << 64) - 1, modulus).public_key())
    with pytest.raises(UnusableKey, match="exponent of 65"):
        RsaKey(rsa.RSAPublicNumbers((1 << 64) + 1, modulus).public_key())


def test_an_rsa_key_is_remembered_by_its_spki(rsa_key: rsa.RSAPrivateKey) -> None:
    der = spki(rsa_key.public_key())
    key = load_spki(der)
    assert isinstance(key, RsaKey)
    assert key.spki == der
    assert load_spki(bytes(bytearray(der))) is key


def test_a_signature_covers_the_hash_of_the_message_and_not_the_message(pair: Pair) -> None:
    signature = pair.private.sign(MESSAGE, ec.ECDSA(hashes.SHA384()))
    assert not pair.key.verify_der(signature, hashlib.sha384(MESSAGE).digest(), "sha384")
